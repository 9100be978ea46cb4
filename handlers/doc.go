// Package handlers is the protocol: an OAuth 2.0 authorization server and
// OpenID provider as net/http handlers over a storage.Storage and a
// clientreg.Registry.
//
// [New] checks a [Config] and returns a [Provider]. [Provider.Handler] mounts
// everything; [Provider.Routes] lists it one by one; each endpoint is a method
// of its own as well.
//
// # The flow as a state machine
//
//	PAR ──────────────┐            par.go        Insert(par)
//	                  ▼
//	/authorize ─▶ checked request  request.go    the list of checks, also PAR's
//	                  │
//	                  ▼
//	               next?           flow.go       prompt, max_age, hint, consent
//	      login ◀─────┼─────▶ consent      or an account page, or the
//	        │   page  │  page              application's registration page
//	        │         │            interaction.go, login.go, accounts.go, consentpage.go
//	        └────────▶│◀──────┘
//	                  ▼
//	               answer          flow.go       one Commit: page and par spent,
//	                  │                          grant and code inserted
//	                  ▼
//	/token code ──▶ tokens         grant_code.go    Consume(code) Update(grant)
//	/token refresh ▶ tokens        grant_refresh.go Update(grant)
//	/token device ▶ tokens         grant_device.go  Consume(device) Update(grant)
//	/userinfo, Protect             access.go     Get(grant)
//	/revoke, /logout, Grants       revoke.go, endsession.go, grants.go  Consume(grant)
//
// A device authorization enters at next by its user code (device_pages.go) and
// always passes the consent page. Its answer spends page and user code, inserts
// the grant, and is then written where the device polls for it.
//
// A grant is one authorization event. Every token names its grant and dies with
// it; revoking is one row.
//
// # Pages
//
// Between /authorize and the answer a person signs in and consents. The pages
// are built in; Config.LoginURL, Config.Consent and Config.Pages replace them.
// Either way the page loads its [Interaction], which is bound to the browser,
// and ends it once: with Login, Choose, SwitchAccount, Register, ApproveAll,
// Approve or Deny.
//
// # Errors
//
// A refusal is an [Error]: a code and a fixed description for the client, a
// stable reason and a cause for the log. A mistake in the configuration is a
// [ConfigError]:
//
//	IDP100 a required field is missing
//	IDP101 a secret is shorter than 32 bytes, or one byte repeated
//	IDP102 an entry is repeated
//	IDP103 a value is not one of the allowed ones
//	IDP104 a duration is negative
//	IDP105 a number of accounts is not between 0 and 8
//	IDP110 the issuer is no absolute URL
//	IDP111 the issuer is not https, and not on a loopback host
//	IDP112 the issuer has a query, fragment or user-info
//	IDP113 the issuer ends in a slash
//	IDP114 the issuer is not in normal form
//	IDP120 the built-in login page lacks a PasswordVerifier
//	IDP121 LoginURL is of another origin
//	IDP122 a SessionSource lacks a SessionEnder
//	IDP123 a SessionSource lacks a LoginURL
//	IDP130 a path is malformed
//	IDP131 two endpoints share a path
//	IDP140 codes live too long
//	IDP141 pushed requests live too long or too short
//	IDP142 access or ID tokens live too long
//	IDP143 an idle lifetime exceeds the absolute one
//	IDP144 the grace of refresh tokens is too long
//	IDP145 keys rotate too often
//	IDP146 a lifetime is not whole seconds
//	IDP147 device codes live too long or too short
//	IDP150 a scope's name is malformed
//	IDP151 a resource's identifier is malformed
//	IDP152 a detail type has no type
//	IDP160 the keys have no algorithm, or one that cannot be used
package handlers
