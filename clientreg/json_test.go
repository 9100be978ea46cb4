package clientreg

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// full has every field set, by reflection, so that no new field is forgotten.
func full(t testing.TB) Client {
	c := Client{}
	v := reflect.ValueOf(&c).Elem()
	for i := range v.NumField() {
		f, name := v.Field(i), v.Type().Field(i).Name
		switch p := f.Addr().Interface().(type) {
		case *string:
			*p = "value of " + name
		case *bool:
			*p = true
		case *[]string:
			*p = []string{"a of " + name, "b"}
		case *time.Time:
			*p = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		case *json.RawMessage:
			*p = json.RawMessage(`{"keys":[]}`)
		case **int:
			n := 7
			*p = &n
		case *int64:
			*p = 3
		case *[]ClientSecret:
			*p = []ClientSecret{{Hash: hash, Expires: time.Date(2027, 1, 2, 3, 4, 5, 6, time.UTC)}, {Sealed: []byte{0, 255}}}
		case *map[string]json.RawMessage:
			*p = extra("client_name#de", `"Ä <b>"`, "x_unknown", `{"a":[1,null,"<"]}`)
		default:
			t.Fatalf("%s has a type that this test does not know", name)
		}
	}
	return c
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]Client{"full": full(t), "empty": {}, "public": public(), "keyed": keyed()} {
		data, err := json.Marshal(c)
		if err != nil {
			t.Fatal(name, err)
		}
		byPointer, err := json.Marshal(&c)
		if err != nil || !bytes.Equal(data, byPointer) {
			t.Errorf("%s: %s, %v", name, byPointer, err)
		}
		var back Client
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(name, err)
		}
		back.Version = c.Version // the registry's
		// JSON inside JSON comes back with < escaped: the same value.
		normalise(t, &c)
		normalise(t, &back)
		if !reflect.DeepEqual(c, back) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, back, c)
		}
	}
}

func normalise(t testing.TB, c *Client) {
	t.Helper()
	for k, v := range c.Extra {
		var x any
		if err := json.Unmarshal(v, &x); err != nil {
			t.Fatal(err)
		}
		c.Extra[k], _ = json.Marshal(x)
	}
}

// TestWireNames lists the members as the specifications spell them.
func TestWireNames(t *testing.T) {
	t.Parallel()
	want := strings.Fields(`
		client_id client_id_issued_at client_name client_uri logo_uri policy_uri tos_uri contacts software_id software_version
		application_type redirect_uris post_logout_redirect_uris grant_types response_types scope
		token_endpoint_auth_method token_endpoint_auth_signing_alg jwks jwks_uri subject_type sector_identifier_uri
		id_token_signed_response_alg id_token_encrypted_response_alg id_token_encrypted_response_enc
		userinfo_signed_response_alg userinfo_encrypted_response_alg userinfo_encrypted_response_enc
		request_object_signing_alg request_object_encryption_alg request_object_encryption_enc require_signed_request_object request_uris
		authorization_signed_response_alg authorization_encrypted_response_alg authorization_encrypted_response_enc
		introspection_signed_response_alg introspection_encrypted_response_alg introspection_encrypted_response_enc
		default_max_age require_auth_time default_acr_values initiate_login_uri
		require_pushed_authorization_requests authorization_details_types dpop_bound_access_tokens
		tls_client_certificate_bound_access_tokens tls_client_auth_subject_dn tls_client_auth_san_dns tls_client_auth_san_uri
		tls_client_auth_san_ip tls_client_auth_san_email
		backchannel_logout_uri backchannel_logout_session_required frontchannel_logout_uri frontchannel_logout_session_required
		backchannel_token_delivery_mode backchannel_client_notification_endpoint
		backchannel_authentication_request_signing_alg backchannel_user_code_parameter`)
	own := strings.Fields("secrets disabled first_party dynamic not_before allow_no_pkce allow_localhost_redirect allow_assertion_audience")
	var got, gotOwn []string
	for _, m := range members().list {
		if m.own {
			gotOwn = append(gotOwn, m.name)
		} else {
			got = append(got, m.name)
		}
	}
	if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(gotOwn, own) {
		t.Errorf("got  %v\nwant %v\ngot  %v\nwant %v", got, want, gotOwn, own)
	}
}

// TestMetadata: what strangers see has no hash and nothing of the kit's own.
func TestMetadata(t *testing.T) {
	t.Parallel()
	c := full(t)
	data, err := c.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	for _, m := range members().list {
		if _, ok := doc[m.name]; ok == m.own {
			t.Errorf("%s: in the metadata %v", m.name, ok)
		}
	}
	if strings.Contains(string(data), "sha256") || string(doc["x_unknown"]) == "" {
		t.Errorf("%s", data)
	}
}

func TestUntrusted(t *testing.T) {
	t.Parallel()
	c := full(t)
	c.Untrusted()
	v := reflect.ValueOf(c)
	for _, m := range members().list {
		switch zero := empty(v.Field(m.index)); {
		case m.name == "dynamic" && zero, m.own && m.name != "dynamic" && !zero, m.name == "client_id_issued_at" && !zero:
			t.Errorf("%s is %v", m.name, v.Field(m.index))
		case !m.own && m.name != "client_id_issued_at" && zero:
			t.Errorf("%s was cleared", m.name)
		}
	}
	if c.Version != 0 || c.Extra == nil {
		t.Errorf("version %d, extra %v", c.Version, c.Extra)
	}
}

func TestUnmarshal(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, data, want string }{ // want: "field rule", or what the error contains
		{"metadata", `{"client_id":"a","redirect_uris":["https://a.example/"],"default_max_age":0}`, ""},
		{"nulls", `{"client_id":null,"redirect_uris":null,"default_max_age":null,"jwks":null,"require_auth_time":null,"secrets":null,"not_before":null}`, ""},
		{"unknown", `{"x":1}`, ""},
		{"G33 duplicate", `{"client_id":"a","client_id":"b"}`, "!duplicate"},
		{"G33 duplicate, escaped", `{"scope":"a","sc\u006fpe":"b"}`, "!duplicate"},
		{"G33 duplicate inside", `{"jwks":{"keys":[],"keys":[]}}`, "!duplicate"},
		{"G33 array", `[]`, "!not a JSON object"},
		{"G33 null", `null`, "!not a JSON object"},
		{"G33 string", `"a"`, "!not a JSON object"},
		{"G33 form", `client_id=a`, "!"},
		{"G32 deep", strings.Repeat(`{"a":`, 17) + `1` + strings.Repeat(`}`, 17), "!deep"},
		{"deep enough", strings.Repeat(`{"a":`, 16) + `1` + strings.Repeat(`}`, 16), ""},
		{"G32 20000 levels", `{"a":` + strings.Repeat("[", 20_000), "!deep"},
		{"other case", `{"Redirect_URIs":["https://evil.example/"]}`, "Redirect_URIs differs from a known member in case only"},
		{"other case of our own", `{"First_Party":true}`, "First_Party differs from a known member in case only"},
		{"other case inside", `{"secrets":[{"Hash":"x"}]}`, "secrets has the wrong type"},
		{"other case of what is dropped", `{"Client_Secret":"x"}`, "Client_Secret differs from a known member in case only"},
		{"string for array", `{"redirect_uris":"https://a.example/"}`, "redirect_uris has the wrong type"},
		{"number in array", `{"redirect_uris":[1]}`, "redirect_uris has the wrong type"},
		{"array for scope", `{"scope":["a"]}`, "scope has the wrong type"},
		{"string for boolean", `{"require_auth_time":"true"}`, "require_auth_time has the wrong type"},
		{"string for number", `{"default_max_age":"1"}`, "default_max_age has the wrong type"},
		{"fraction", `{"default_max_age":1.5}`, "default_max_age has the wrong type"},
		{"date for seconds", `{"client_id_issued_at":"2026-01-01T00:00:00Z"}`, "client_id_issued_at has the wrong type"},
		{"seconds for date", `{"not_before":1}`, "not_before has the wrong type"},
		{"all at once", `{"scope":1,"require_auth_time":1,"redirect_uris":1}`, "redirect_uris has the wrong type | require_auth_time has the wrong type | scope has the wrong type"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := Client{ID: "before", Version: 5}
			err := c.UnmarshalJSON([]byte(tc.data))
			if sub, ok := strings.CutPrefix(tc.want, "!"); ok {
				if err == nil || !strings.Contains(err.Error(), sub) {
					t.Errorf("error %v", err)
				}
			} else if got := strings.Join(found(t, err, ""), " | "); got != tc.want {
				t.Errorf("got %s", got)
			}
			if (err == nil) == (c.ID == "before") || c.Version != 5 {
				t.Errorf("client %+v after %v", c, err)
			}
		})
	}
}

// TestDropped: credentials of one request never become part of the client.
func TestDropped(t *testing.T) {
	t.Parallel()
	var c Client
	err := json.Unmarshal([]byte(`{"client_id":"a","client_secret":"SECRET","client_secret_expires_at":0,"registration_access_token":"SECRET",
		"registration_client_uri":"https://x.example","software_statement":"SECRET","x":"kept"}`), &c)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(c)
	if err != nil || string(data) != `{"client_id":"a","x":"kept"}` {
		t.Errorf("%s, %v", data, err)
	}
}

func TestMarshalRefuses(t *testing.T) {
	t.Parallel()
	for _, m := range []map[string]json.RawMessage{extra("scope", `"admin"`), extra("Dynamic", `true`), extra("client_secret", `"x"`), extra("x", `{`)} {
		if data, err := json.Marshal(Client{ID: "a", Extra: m}); err == nil {
			t.Errorf("%s", data)
		}
	}
}

func TestClone(t *testing.T) {
	t.Parallel()
	var none *Client
	if none.Clone() != nil {
		t.Error("a clone of nil")
	}
	c := full(t)
	n := c.Clone()
	if !reflect.DeepEqual(&c, n) {
		t.Fatalf("%+v", n)
	}
	shared(t, "Client", reflect.ValueOf(&c).Elem(), reflect.ValueOf(n).Elem())
}

// shared reports memory that two values have in common.
func shared(t *testing.T, at string, a, b reflect.Value) {
	switch a.Kind() {
	case reflect.Pointer:
		if a.Pointer() == b.Pointer() {
			t.Errorf("%s is shared", at)
		}
	case reflect.Slice:
		if a.Len() > 0 && a.Pointer() == b.Pointer() {
			t.Errorf("%s is shared", at)
		}
		for i := range a.Len() {
			shared(t, fmt.Sprintf("%s[%d]", at, i), a.Index(i), b.Index(i))
		}
	case reflect.Map:
		if a.Pointer() == b.Pointer() {
			t.Errorf("%s is shared", at)
		}
		for _, k := range a.MapKeys() {
			shared(t, at+"["+k.String()+"]", a.MapIndex(k), b.MapIndex(k))
		}
	case reflect.Struct:
		if a.Type() != reflect.TypeFor[time.Time]() {
			for i := range a.NumField() {
				shared(t, at+"."+a.Type().Field(i).Name, a.Field(i), b.Field(i))
			}
		}
	}
}

// FuzzClientJSON: what is read is written and read again to the same, and
// nothing that a client is not made of survives.
func FuzzClientJSON(f *testing.F) {
	data, err := json.Marshal(full(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	for _, s := range []string{
		`{}`, `null`, `[]`, `{"client_id":"a","client_name#de":"x","X":{"a":[null,1e400]}}`, `{"default_max_age":0,"jwks":{"keys":[]}}`,
		`{"client_id_issued_at":-5,"not_before":"2026-01-01T00:00:00+01:00","secrets":[{"sealed":"AA=="}]}`, `{"client_secret":"x"}`,
		`{"redirect_uris":[],"contacts":[null],"\u0000":"\ud83d\ude00"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var c Client
		if c.UnmarshalJSON(data) != nil {
			return
		}
		c.Validate()
		Lint(&c)
		c.LocalizedName("de-AT", "x")
		first, err := json.Marshal(c)
		if err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		var back Client
		if err := back.UnmarshalJSON(first); err != nil {
			t.Fatalf("%q -> %q: %v", data, first, err)
		}
		second, err := json.Marshal(back)
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%q -> %q -> %q, %v", data, first, second, err)
		}
		for name := range back.Extra {
			if reserved(name) {
				t.Errorf("%q is in Extra", name)
			}
		}
		if m, err := c.Metadata(); err != nil || len(m) > len(first) {
			t.Errorf("metadata %q, %v", m, err)
		}
	})
}
