package handlers

type fault struct{ code, description string }

// reasons is the catalogue of everything the provider refuses, in the order in
// which a request meets the checks. Descriptions are plain ASCII without quotes
// or backslashes (RFC 6749 §5.2) and say nothing of the server's inside.
var reasons = map[string]fault{
	// the request as such
	"request.malformed":   {"invalid_request", "the request is malformed"},
	"request.too_large":   {"invalid_request", "the request is too large"},
	"request.media_type":  {"invalid_request", "the body must be application/x-www-form-urlencoded without a content encoding"},
	"request.repeated":    {"invalid_request", "a parameter was sent more than once"},
	"request.query":       {"invalid_request", "parameters must be sent in the body, not in the URL"},
	"request.rate":        {"temporarily_unavailable", "too many requests, try again later"},
	"request.cross_site":  {"invalid_request", "the request came from another site"},
	"storage.unavailable": {"temporarily_unavailable", "the service is temporarily unavailable, try again"},
	"registry.outage":     {"temporarily_unavailable", "the service is temporarily unavailable, try again"},
	"users.outage":        {"temporarily_unavailable", "the service is temporarily unavailable, try again"},
	"keys.outage":         {"temporarily_unavailable", "the service is temporarily unavailable, try again"},
	"server.busy":         {"temporarily_unavailable", "the service is temporarily unavailable, try again"},
	"server.fault":        {"server_error", "the server met an unexpected condition"},

	// client authentication, RFC 6749 §2.3
	"client.missing":        {"invalid_client", "client authentication failed"},
	"client.unknown":        {"invalid_client", "client authentication failed"},
	"client.disabled":       {"invalid_client", "client authentication failed"},
	"client.unserved":       {"invalid_client", "client authentication failed"},
	"client.credentials":    {"invalid_client", "client authentication failed"},
	"client.method":         {"invalid_client", "client authentication failed"},
	"client.secret":         {"invalid_client", "client authentication failed"},
	"client.secret_expired": {"invalid_client", "client authentication failed"},
	"client.several":        {"invalid_request", "more than one client authentication method was used"},
	"client.mismatch":       {"invalid_request", "client_id does not match the client that authenticated"},
	"client.grant_type":     {"unauthorized_client", "the client is not registered for this grant type"},

	// client assertions, RFC 7523 §3
	"assertion.type":      {"invalid_client", "client authentication failed"},
	"assertion.malformed": {"invalid_client", "client authentication failed"},
	"assertion.algorithm": {"invalid_client", "client authentication failed"},
	"assertion.keys":      {"invalid_client", "client authentication failed"}, // the client's key set cannot be had or used
	"assertion.key":       {"invalid_client", "client authentication failed"}, // no key of the set fits
	"assertion.signature": {"invalid_client", "client authentication failed"},
	"assertion.typ":       {"invalid_client", "client authentication failed"},
	"assertion.subject":   {"invalid_client", "client authentication failed"},
	"assertion.audience":  {"invalid_client", "client authentication failed"},
	"assertion.no_exp":    {"invalid_client", "client authentication failed"},
	"assertion.expired":   {"invalid_client", "client authentication failed"},
	"assertion.lifetime":  {"invalid_client", "client authentication failed"},
	"assertion.iat":       {"invalid_client", "client authentication failed"},
	"assertion.nbf":       {"invalid_client", "client authentication failed"},
	"assertion.jti":       {"invalid_client", "client authentication failed"},
	"assertion.replayed":  {"invalid_client", "client authentication failed"},

	// authorization requests, RFC 6749 §4.1.1, OpenID Connect Core §3.1.2.1
	"authorize.client":           {"invalid_request", "client_id is missing or unknown"},
	"authorize.redirect_uri":     {"invalid_request", "redirect_uri is missing or not registered for the client"},
	"authorize.grant_type":       {"unauthorized_client", "the client is not registered for this flow"},
	"authorize.response_type":    {"unsupported_response_type", "response_type is not supported"},
	"authorize.no_response_type": {"invalid_request", "response_type is missing"},
	"authorize.client_type":      {"unauthorized_client", "response_type is not registered for the client"},
	"authorize.response_mode":    {"invalid_request", "response_mode is not supported"},
	"authorize.state":            {"invalid_request", "state is too long or has characters that are not allowed"},
	"authorize.nonce":            {"invalid_request", "nonce is too long or has characters that are not allowed"},
	"authorize.no_challenge":     {"invalid_request", "code_challenge is required"},
	"authorize.challenge_method": {"invalid_request", "code_challenge_method must be S256"},
	"authorize.challenge":        {"invalid_request", "code_challenge is not a base64url SHA-256"},
	"authorize.scope":            {"invalid_scope", "scope is malformed"},
	"authorize.scope_client":     {"invalid_scope", "scope has a value that the client is not registered for"},
	"authorize.prompt":           {"invalid_request", "prompt is not supported or none is combined with another value"},
	"authorize.max_age":          {"invalid_request", "max_age must be a number of seconds"},
	"authorize.hint":             {"invalid_request", "id_token_hint is not an ID token of this issuer for this client"},
	"authorize.acr":              {"unmet_authentication_requirements", "the user cannot sign in as the request demands"},
	"authorize.claims":           {"invalid_request", "claims is not a JSON object of the defined form"},
	"authorize.parameter":        {"invalid_request", "a parameter is too long or malformed"},
	"authorize.request":          {"request_not_supported", "request objects are not supported"},
	"authorize.request_uri":      {"request_uri_not_supported", "request_uri by reference is not supported"},
	"authorize.both_requests":    {"invalid_request", "request and request_uri cannot be combined"},
	"authorize.registration":     {"registration_not_supported", "the registration parameter is not supported"},
	"authorize.resource":         {"invalid_target", "resource is unknown or not allowed"},
	"authorize.details":          {"invalid_authorization_details", "authorization_details is malformed or not allowed"},
	"authorize.login_required":   {"login_required", "the user must sign in"},
	"authorize.account_required": {"account_selection_required", "the user must choose an account"},
	"authorize.consent_required": {"consent_required", "the user must consent"},
	"authorize.other_user":       {"login_required", "the signed-in user is not the one the request asks for"},

	// pushed requests, RFC 9126
	"par.request_uri": {"invalid_request", "request_uri is not allowed in a pushed request"},
	"par.required":    {"invalid_request", "the client must use pushed authorization requests"},
	"par.unknown":     {"invalid_request_uri", "request_uri is invalid, expired or was already used"},
	"par.expired":     {"invalid_request_uri", "request_uri is invalid, expired or was already used"},
	"par.used":        {"invalid_request_uri", "request_uri is invalid, expired or was already used"},

	// the person at the browser
	"consent.denied":       {"access_denied", "the user denied the request"},
	"consent.empty":        {"access_denied", "nothing was granted"},
	"consent.wider":        {"invalid_request", "more was approved than was asked"},
	"login.cancelled":      {"access_denied", "the user did not sign in"},
	"login.user_disabled":  {"access_denied", "the user cannot sign in"},
	"policy.token":         {"invalid_grant", "the request was refused by policy"},
	"policy.refused":       {"access_denied", "the request was refused by policy"},
	"interaction.missing":  {"invalid_request", "the page is not part of a sign-in"},
	"interaction.unknown":  {"invalid_request", "the sign-in is unknown"},
	"interaction.expired":  {"invalid_request", "the sign-in has expired"},
	"interaction.done":     {"invalid_request", "the sign-in was already completed"},
	"interaction.browser":  {"invalid_request", "the sign-in was started in another browser"},
	"interaction.session":  {"invalid_request", "the session has changed since the page was opened"},
	"interaction.csrf":     {"invalid_request", "the form is out of date"},
	"interaction.response": {"invalid_request", "the form is incomplete"},

	// token endpoint, RFC 6749 §5.2
	"token.no_grant_type": {"invalid_request", "grant_type is missing"},
	"token.grant_type":    {"unsupported_grant_type", "grant_type is not supported"},
	"token.too_large":     {"invalid_target", "the token would be too large: ask for fewer resources"},
	"token.formats":       {"invalid_target", "the resources want tokens of different formats: ask for one at a time"},
	"token.resource":      {"invalid_target", "resource was not granted"},
	"code.missing":        {"invalid_request", "code is missing"},
	"code.malformed":      {"invalid_grant", "the authorization code is invalid, expired or was already used"},
	"code.unknown":        {"invalid_grant", "the authorization code is invalid, expired or was already used"},
	"code.reused":         {"invalid_grant", "the authorization code is invalid, expired or was already used"},
	"code.expired":        {"invalid_grant", "the authorization code is invalid, expired or was already used"},
	"code.client":         {"invalid_grant", "the authorization code is invalid, expired or was already used"},
	"code.redirect_uri":   {"invalid_grant", "redirect_uri does not match the authorization request"},
	"code.no_verifier":    {"invalid_grant", "code_verifier is missing"},
	"code.verifier":       {"invalid_grant", "code_verifier does not match"},
	"code.extra_verifier": {"invalid_grant", "code_verifier was sent but no code_challenge was"},
	"code.attempts":       {"invalid_grant", "the authorization code is invalid, expired or was already used"},
	"grant.revoked":       {"invalid_grant", "the grant was revoked or has expired"},
	"grant.session":       {"invalid_grant", "the grant was revoked or has expired"},
	"grant.user":          {"invalid_grant", "the grant was revoked or has expired"},
	"grant.client":        {"invalid_grant", "the grant was revoked or has expired"},
	"grant.consent":       {"invalid_grant", "the grant was revoked or has expired"},
	"refresh.missing":     {"invalid_request", "refresh_token is missing"},
	"refresh.malformed":   {"invalid_grant", "the refresh token is invalid, expired or was revoked"},
	"refresh.unknown":     {"invalid_grant", "the refresh token is invalid, expired or was revoked"},
	"refresh.client":      {"invalid_grant", "the refresh token is invalid, expired or was revoked"},
	"refresh.expired":     {"invalid_grant", "the refresh token is invalid, expired or was revoked"},
	"refresh.reused":      {"invalid_grant", "the refresh token is invalid, expired or was revoked"},
	"refresh.scope":       {"invalid_scope", "scope exceeds what was granted"},

	// authorization_details at the token endpoint, RFC 9396 §6
	"token.details":        {"invalid_authorization_details", "authorization_details is malformed or not allowed"},
	"token.details_client": {"invalid_authorization_details", "authorization_details are not accepted with this grant type"},
	"token.details_size":   {"invalid_authorization_details", "the narrowed authorization_details are too large: choose among those granted"},
	"token.details_wider":  {"invalid_authorization_details", "authorization_details exceed what was granted"},

	// device authorization, RFC 8628 §3.5
	"device.missing":   {"invalid_request", "device_code is missing"},
	"device.malformed": {"invalid_grant", "the device code is invalid or was already used"},
	"device.unknown":   {"invalid_grant", "the device code is invalid or was already used"},
	"device.client":    {"invalid_grant", "the device code is invalid or was already used"},
	"device.reused":    {"invalid_grant", "the device code is invalid or was already used"},
	"device.expired":   {"expired_token", "the device code has expired"},
	"device.denied":    {"access_denied", "the user denied the request"},
	"device.pending":   {"authorization_pending", "the user has not answered yet"},
	"device.too_fast":  {"slow_down", "wait five seconds more between polls from now on"},
	"device.answered":  {"invalid_request", "the device's request was already answered"},

	// access tokens, RFC 6750 §3.1
	"access.missing":  {"invalid_token", ""},
	"access.request":  {"invalid_request", "the access token must be sent once, in the Authorization header or the form body"},
	"access.invalid":  {"invalid_token", "the access token is invalid"},
	"access.expired":  {"invalid_token", "the access token has expired"},
	"access.revoked":  {"invalid_token", "the access token was revoked"},
	"access.audience": {"invalid_token", "the access token is not meant for this resource"},
	"access.scope":    {"insufficient_scope", "the access token lacks a scope"},

	// introspection, RFC 7662
	"introspect.missing": {"invalid_request", "token is missing"},

	// revocation, RFC 7009
	"revoke.missing": {"invalid_request", "token is missing"},

	// logout, RP-Initiated Logout §2
	"logout.hint":         {"invalid_request", "id_token_hint is not an ID token of this issuer"},
	"logout.client":       {"invalid_request", "client_id does not match id_token_hint"},
	"logout.redirect_uri": {"invalid_request", "post_logout_redirect_uri is not registered for the client"},
}
