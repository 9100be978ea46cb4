package main

import (
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"
	"strconv"

	"github.com/idpkit/idpkit/handlers"
)

//go:embed page.html
var pageHTML string

var page = template.Must(template.New("page").Funcs(template.FuncMap{"limit": func(raw json.RawMessage) string {
	d, _, _ := readPayment(raw) // was checked by payment.Validate
	return d.Limit
}}).Parse(pageHTML))

// consentPage is the whole page. The kit has found the request that waits, made
// sure that this browser began it and, on POST, that the form is ours; it checks
// afterwards that no more is allowed than was asked for.
func consentPage(w http.ResponseWriter, r *http.Request, i *handlers.Interaction) {
	switch {
	case r.Method != http.MethodPost:
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'; "+i.FormAction())
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = page.Execute(w, i) // fails only when nobody listens any more
	case r.PostForm.Get("do") == "allow":
		a := handlers.Approval{Scopes: r.PostForm["scope"], Claims: r.PostForm["claim"], Remember: r.PostForm.Has("remember")}
		for n, asked := range i.Asked.Details {
			if limit := r.PostForm.Get("limit" + strconv.Itoa(n)); limit != "" { // empty: not this one
				a.Details = append(a.Details, withLimit(asked.Raw, limit))
			}
		}
		i.Approve(w, r, a)
	default:
		i.Deny(w, r, nil)
	}
}

// withLimit is a payment detail with another limit. Whether it is a lower one is
// for payment.Within to say.
func withLimit(raw json.RawMessage, limit string) json.RawMessage {
	var d map[string]any
	_ = json.Unmarshal(raw, &d) // was checked by payment.Validate
	d["limit"] = limit
	narrowed, _ := json.Marshal(d)
	return narrowed
}
