package handlerstest_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/idpkit/idpkit/handlers/handlerstest"
)

// TestForm: what a form sends, by the rules of HTML §4.10.21.4.
func TestForm(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, page string
		fields     url.Values
		want       string // method, action and values; empty: an error
	}{
		{"kinds of fields", `<form method="post" action="/a"><input type="hidden" name="csrf" value="t"/><input name="user" value="al&#39;ice">` +
			`<input type="checkbox" name="c" value="1" checked=""/><input type="checkbox" name="c" value="2"><input type=checkbox name=d checked>` +
			`<input type="radio" name="r" value="1"><input type="radio" name="r" value="2" checked><input type="file" name="f"><input type="reset" name="x">` +
			`<textarea name="t">
a &lt;b&gt; </form> "c"</textarea></form>`, nil,
			"POST /a c=1&csrf=t&d=on&r=2&t=a+%3Cb%3E+%3C%2Fform%3E+%22c%22&user=al%27ice"},
		{"select", `<form action=/a><select name=one><option>A  b<option value=2>B</select><select name=two><option value=1><option value=2 selected></select>` +
			`<select name=many multiple><option>x</select><select name=off disabled><option>x</select></form>`, nil, "GET /a one=A+b&two=2"},
		{"overridden", `<form><input name=a value=1><input type=checkbox name=b value=1 checked><input name=c value=1></form>`,
			url.Values{"a": {"2", "3"}, "b": nil}, "GET /page?q=1 a=2&a=3&c=1"},
		{"first button", `<form><button type=button name=x>X</button><button name=do value=yes>Y</button><button name=do value=no>N</button></form>`, nil, "GET /page?q=1 do=yes"},
		{"other button", `<form><button name=do value=yes>Y</button><input type=submit name=do value=no></form>`, url.Values{"do": {"no"}}, "GET /page?q=1 do=no"},
		{"no such button", `<form><button name=do value=yes>Y</button></form>`, url.Values{"do": {"no"}}, ""},
		{"not that kind of button", `<form><button type=reset name=do value=yes>Y</button></form>`, url.Values{"do": {"yes"}}, "GET /page?q=1 do=yes"},
		{"no such field", `<form><input name=usrname></form>`, url.Values{"username": {"a"}}, ""},
		{"disabled", `<form><input name=a disabled value=1><input name=b value=1></form>`, nil, "GET /page?q=1 b=1"},
		{"second form", `<form action=/1><input name=a></form><form action=/2 method=POST><input name=b></form>`, url.Values{"b": {"x"}}, "POST /2 b=x"},
		{"by button", `<form action=/1><button name=do value=a></form><form action=/2><button name=do value=b></form>`, url.Values{"do": {"b"}}, "GET /2 do=b"},
		{"button of another form", `<form action=/1><button name=do value=a form=two>A</button><button name=do value=b>B</button></form><form id=two action=/2></form>`,
			url.Values{"do": {"a"}}, "GET /2 do=a"},
		{"form in a form", `<form action=/1><form action=/2><input name=a value=1></form>`, nil, "GET /1 a=1"},
		{"comments and scripts", `<!-- <form action=/1> --><script>"<form action=/2>"</script><style><form></style><title><form></title><form action=/3></form>`, nil, "GET /3 "},
		{"spelling", `<FORM ACTION='/a?b=1&amp;c=2#d' METHOD = "Post"><INPUT NAME=a VALUE=1 value=2 / ><p <input></FORM>`, nil, "POST /a?b=1&c=2 a=1"},
		{"whole action", `<form action="https://rp.example/cb" method="post"><input type="hidden" name="code" value="x"></form>`, nil, "POST https://rp.example/cb code=x"},
		{"no form", `<p>nothing`, nil, ""},
		{"bad action", `<form action="http://[">`, nil, ""},
		{"cut off", `<form action="/a`, nil, "GET /a "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			at, err := url.Parse("/page?q=1")
			if err != nil {
				t.Fatal(err)
			}
			f, err := handlerstest.Page{URL: at, Body: tc.page}.Form(tc.fields)
			got := ""
			if err == nil {
				got = f.Method + " " + f.Action.String() + " " + f.Values.Encode()
			}
			if got != tc.want {
				t.Errorf("%q, %v; want %q", got, err, tc.want)
			}
		})
	}
}

// TestErr: what counts as a refusal.
func TestErr(t *testing.T) {
	t.Parallel()
	leave := func(s string) *url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	for _, tc := range []struct {
		name string
		page handlerstest.Page
		want string
	}{
		{"JSON", handlerstest.Page{Status: 400, Body: `{"error":"a"}`}, "a"},
		{"JSON that is none", handlerstest.Page{Status: 200, Body: `{"error":"a"}`}, ""},
		{"HTML", handlerstest.Page{Status: 400, Body: `<p>error`}, ""},
		{"query", handlerstest.Page{Status: http.StatusSeeOther, Leaves: leave("https://a/?error=a")}, "a"},
		{"fragment", handlerstest.Page{Status: http.StatusSeeOther, Leaves: leave("https://a/?error=b#error=a%26")}, "a&"},
		{"posted", handlerstest.Page{Status: 200, Leaves: leave("https://a/"), Posted: url.Values{"error": {"a"}}}, "a"},
		{"a code", handlerstest.Page{Status: http.StatusSeeOther, Leaves: leave("https://a/?code=a")}, ""},
	} {
		got := ""
		if e := tc.page.Err(); e != nil {
			got = e.Code
		}
		if got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func FuzzForm(f *testing.F) {
	for _, s := range []string{
		`<form method=post action=/a><input name=a value="1"><select name=s><option selected>x</select><button name=do value=b>`,
		`<textarea></TEXTAREA><!--`, `<form a=`, `<a =b ='`, `</`, "<form><input type=\"checkbox\" checked name='\x00'/>",
	} {
		f.Add(s, "a")
	}
	f.Fuzz(func(t *testing.T, body, name string) {
		p := handlerstest.Page{Body: body}
		form, err := p.Form(nil)
		if err == nil && (form.Action == nil || form.Values == nil) {
			t.Errorf("%+v", form)
		}
		if err != nil && !strings.Contains(err.Error(), "form") {
			t.Error(err)
		}
		if form, err = p.Form(url.Values{name: {"x"}}); err == nil && form.Values.Get(name) != "x" {
			t.Errorf("%+v lacks what was filled in", form)
		}
	})
}
