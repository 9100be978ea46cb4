package handlers

import (
	"github.com/idpkit/idpkit/internal/jsonread"
)

// What is read at nearly every request is read without reflection. Every member
// that encoding/json writes has its case here; TestDecode holds that.

// decoder reads itself from a JSON object that the kit wrote.
type decoder interface{ decode(*jsonread.Reader) }

func decode(data []byte, d decoder) error {
	r := jsonread.Object(data)
	d.decode(r)
	return r.Err()
}

func (t *accessToken) decode(r *jsonread.Reader) {
	for r.Next() {
		switch string(r.Name()) {
		case "s":
			t.Shard = uint16(r.Int64())
		case "g":
			t.Grant = r.String()
		case "c":
			t.Client = r.String()
		case "j":
			t.JTI = r.String()
		case "o":
			t.Scope = r.String()
		case "a":
			t.Aud = r.Strings()
		case "d":
			t.Details = tokenDetails(r.Raws())
		case "i":
			t.Iat = r.Int64()
		case "e":
			t.Exp = r.Int64()
		default:
			r.Skip()
		}
	}
}

func (d *grantData) decode(r *jsonread.Reader) {
	for r.Next() {
		switch string(r.Name()) {
		case "scope":
			d.Scope = r.Strings()
		case "claims":
			r.Decode(&d.Claims)
		case "claims_locales":
			d.Locales = r.Strings()
		case "resource":
			d.Resources = r.Strings()
		case "authorization_details":
			d.Details = r.Raws()
		case "host":
			d.Host = r.Bool()
		case "sid":
			d.SID = r.String()
		case "auth_time":
			d.AuthTime = r.Time()
		case "tell_time":
			d.TellTime = r.Bool()
		case "acr":
			d.ACR = r.String()
		case "amr":
			d.AMR = r.Strings()
		case "consent":
			d.Consent = r.Bool()
		case "created_at":
			d.CreatedAt = r.Time()
		case "used_at":
			d.UsedAt = r.Time()
		case "not_before":
			d.NotBefore = r.Time()
		case "revoked":
			r.Decode(&d.Revoked)
		case "refresh":
			if d.Refresh = (&refreshData{}); !r.Object(d.Refresh.decode) {
				d.Refresh = nil
			}
		default:
			r.Skip()
		}
	}
}

func (d *refreshData) decode(r *jsonread.Reader) {
	for r.Next() {
		switch string(r.Name()) {
		case "seq":
			d.Seq = uint32(r.Int64())
		case "digest":
			d.Digest = r.Bytes()
		case "rotated_at":
			d.RotatedAt = r.Time()
		case "successor":
			d.Successor = r.Bytes()
		case "idle_until":
			d.IdleUntil = r.Time()
		case "until":
			d.Until = r.Time()
		default:
			r.Skip()
		}
	}
}

func (d *codeData) decode(r *jsonread.Reader) {
	for r.Next() {
		switch string(r.Name()) {
		case "redirect_uri":
			d.RedirectURI = r.String()
		case "code_challenge":
			d.Challenge = r.String()
		case "nonce":
			d.Nonce = r.String()
		case "expires":
			d.Expires = r.Time()
		case "misses":
			d.Misses = int(r.Int64())
		default:
			r.Skip()
		}
	}
}

func (d *pushedData) decode(r *jsonread.Reader) {
	for r.Next() {
		switch string(r.Name()) {
		case "request":
			r.Object(d.Request.decode)
		case "expires":
			d.Expires = r.Time()
		case "posted":
			d.Posted = r.Bool()
		default:
			r.Skip()
		}
	}
}

func (q *authRequest) decode(r *jsonread.Reader) {
	for r.Next() {
		switch string(r.Name()) {
		case "client_id":
			q.ClientID = r.String()
		case "redirect_uri":
			q.RedirectURI = r.String()
		case "response_mode":
			q.ResponseMode = r.String()
		case "state":
			q.State = r.String()
		case "nonce":
			q.Nonce = r.String()
		case "scope":
			q.Scope = r.Strings()
		case "code_challenge":
			q.Challenge = r.String()
		case "prompt":
			q.Prompt = r.Strings()
		case "display":
			q.Display = r.String()
		case "max_age":
			r.Decode(&q.MaxAge)
		case "login_hint":
			q.LoginHint = r.String()
		case "hint_subject":
			q.HintSubject = r.String()
		case "hinted":
			q.Hinted = r.Bool()
		case "ui_locales":
			q.UILocales = r.Strings()
		case "claims_locales":
			q.ClaimsLocales = r.Strings()
		case "acr_values":
			q.ACRValues = r.Strings()
		case "essential_acr":
			q.EssentialACR = r.Strings()
		case "claims":
			r.Decode(&q.Claims)
		case "resource":
			q.Resources = r.Strings()
		case "authorization_details":
			q.Details = r.Raws()
		default:
			r.Skip()
		}
	}
}

func (d *sessionData) decode(r *jsonread.Reader) {
	for r.Next() {
		switch string(r.Name()) {
		case "secret":
			d.Secret = r.Bytes()
		case "salt":
			d.Salt = r.String()
		case "auth_time":
			d.AuthTime = r.Time()
		case "acr":
			d.ACR = r.String()
		case "amr":
			d.AMR = r.Strings()
		case "seen":
			d.Seen = r.Time()
		case "until":
			d.Until = r.Time()
		default:
			r.Skip()
		}
	}
}
