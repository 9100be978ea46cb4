// A form with data-get or data-create carries a question to a passkey. The
// answer goes back with the form, in its field credential.

const ask = {
  get: (options) => navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) }),
  create: (options) => navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) }),
};

for (const form of document.forms) {
  const kind = Object.keys(ask).find((k) => k in form.dataset);
  if (!kind) continue;
  form.addEventListener('submit', async (event) => {
    const field = form.elements.credential;
    if (field.value) return; // the answer is there: let it go
    event.preventDefault();
    const problem = document.getElementById('problem');
    problem.textContent = '';
    try {
      const credential = await ask[kind](JSON.parse(form.dataset[kind]));
      field.value = JSON.stringify(credential);
      form.requestSubmit(event.submitter);
      field.value = ''; // for whoever comes back to this page
    } catch (e) {
      problem.textContent = window.PublicKeyCredential ? 'No passkey was used. Please try again.' : 'This browser has no passkeys.';
    }
  });
}
