// Package idpkit is the map of a kit for OAuth 2.0 / OpenID Connect providers.
// It has no code of its own.
//
// A provider that works, over memory, is this:
//
//	p, err := handlers.New(handlers.Config{
//		Issuer:  "http://localhost:8080",
//		Storage: memory.New(),
//		Clients: clients, // clientreg.Static(…)
//		Users:   users,   // your table: Claims, VerifyPassword
//		Secrets: [][]byte{secret}, // 32 random bytes
//	})
//	if err != nil {
//		log.Fatal(err) // every mistake at once, with its fix
//	}
//	go p.Run(ctx)
//	http.ListenAndServe("localhost:8080", p.Handler())
//
// # Three doors
//
//   - Embed it in an existing service: [github.com/idpkit/idpkit/handlers],
//     Config.Users with your user table, a SessionSource for your login session.
//   - Swap the storage: [github.com/idpkit/idpkit/storage] is four methods;
//     storagetest tells whether yours are right.
//   - Draw your own consent page: handlers.Consent is one function.
//
// GUIDE.md has a chapter for each, for keys and secrets, and for what stands
// before the provider; CATALOGUE.md lists what it refuses, by name.
//
// # Endpoints
//
//	endpoint                        handler              file              specification
//	/.well-known/openid-configuration  Discovery         discovery.go      OpenID Connect Discovery §4, RFC 8414 §3
//	/jwks                           JWKS                 discovery.go      RFC 7517 §5
//	/par                            PAR                  par.go            RFC 9126 §2
//	/authorize                      Authorize            authorize.go      RFC 6749 §3.1, OpenID Connect Core §3.1.2
//	/login                          LoginPage            login.go          –
//	/consent                        ConsentPage          consentpage.go    –
//	/token                          Token                token.go          RFC 6749 §3.2
//	  authorization_code                                 grant_code.go     RFC 6749 §4.1.3, RFC 7636 §4.5
//	  refresh_token                                      grant_refresh.go  RFC 6749 §6, RFC 9700 §4.14
//	  client_credentials                                 grant_client.go   RFC 6749 §4.4
//	  device_code                                        grant_device.go   RFC 8628 §3.4
//	/introspect                     Introspect           introspect.go     RFC 7662 §2
//	/device_authorization           DeviceAuthorization  device.go         RFC 8628 §3.1
//	/device                         DevicePage           device_pages.go   RFC 8628 §3.3
//	/userinfo                       UserInfo             userinfo.go       OpenID Connect Core §5.3
//	/revoke                         Revoke               revoke.go         RFC 7009 §2
//	/logout                         EndSessionEndpoint   endsession.go     OpenID Connect RP-Initiated Logout §2
package idpkit
