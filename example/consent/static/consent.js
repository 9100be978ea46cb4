// The consent page as a script. It talks to its own address, which names the
// interaction; what is asked comes from there, and the answer goes there.

const $ = (id) => document.getElementById(id);

async function ask(options) {
  const response = await fetch(location.href, { ...options, headers: { Accept: 'application/json', ...options?.headers } });
  const body = await response.json();
  if (!response.ok) throw new Error(body.error_description ?? body.error);
  return body;
}

// row is a line with a checkbox. Text is set as text, never as HTML: it comes
// from the client.
function row(text, data, required) {
  const box = Object.assign(document.createElement('input'), { type: 'checkbox', checked: true, disabled: required });
  const label = document.createElement('label');
  label.append(box, ' ', text);
  const item = document.createElement('li');
  item.append(label);
  $('asked').append(item);
  return { box, data };
}

const chosen = (rows) => rows.filter((r) => r.box.checked).map((r) => r.data);

try {
  const view = await ask();
  $('client').textContent = view.client.client_name;
  $('account').textContent = view.account.name;
  const scopes = (view.asked.scopes ?? []).map((s) => row(s.title, s.name, s.required));
  const claims = (view.asked.claims ?? []).map((c) => row(c, c));
  const details = (view.asked.details ?? []).map((d) => row(d.lines.join(' '), d.raw));
  $('remember').parentElement.hidden = !view.can_remember;

  const answer = (body) => async () => {
    try {
      const { location: next } = await ask({ method: 'POST', headers: { 'X-CSRF-Token': view.csrf }, body: JSON.stringify(body()) });
      location.assign(next); // {action, params} comes instead if clients use response_mode=form_post
    } catch (e) {
      $('problem').textContent = e.message;
    }
  };
  $('deny').onclick = answer(() => ({ allow: false }));
  $('allow').onclick = answer(() => ({
    allow: true, scopes: chosen(scopes), claims: chosen(claims), details: chosen(details), remember: $('remember').checked,
  }));
  document.querySelector('main').hidden = false;
} catch (e) {
  $('problem').textContent = e.message;
}
