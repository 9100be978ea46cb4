import { provideHttpClient, withInterceptors } from '@angular/common/http';
import { EnvironmentProviders, Provider, provideBrowserGlobalErrorListeners } from '@angular/core';
import {
  AbstractLoggerService,
  LogLevel,
  OpenIdConfiguration,
  authInterceptor,
  provideAuth,
} from 'angular-auth-oidc-client';

import { ProblemLog } from './problem-log';
import { SETTINGS, Settings } from './settings';

export const SCOPE = 'openid profile offline_access';

/** Beyond scopes: which accounts, and what may be done with them (RFC 9396). */
export const AUTHORIZATION_DETAILS = [
  {
    type: 'account_access',
    actions: ['read_balances', 'read_transactions'],
    accounts: ['DE02120300000000202051', 'DE02500105170137075030'],
  },
];

export function providersFor(settings: Settings): (Provider | EnvironmentProviders)[] {
  return [
    { provide: SETTINGS, useValue: settings },
    provideBrowserGlobalErrorListeners(),
    provideHttpClient(withInterceptors([authInterceptor()])),
    provideAuth({ config: openIdConfiguration(settings) }),
    { provide: AbstractLoggerService, useExisting: ProblemLog },
  ];
}

function openIdConfiguration(settings: Settings): OpenIdConfiguration {
  return {
    authority: settings.authority,
    clientId: settings.clientId,
    redirectUrl: window.location.origin,
    postLogoutRedirectUri: window.location.origin,

    // The parameters go to the provider in a POST; the browser carries only a
    // reference to them (RFC 9126). The code is bound to this page by PKCE.
    usePushedAuthorisationRequests: true,
    responseType: 'code',
    scope: SCOPE,
    customParamsAuthRequest: {
      prompt: 'consent',
      authorization_details: JSON.stringify(AUTHORIZATION_DETAILS),
    },

    silentRenew: true,
    useRefreshToken: true,
    renewTimeBeforeTokenExpiresInSeconds: 30,
    ignoreNonceAfterRefresh: settings.ignoreNonceAfterRefresh,

    // The access token is sent to this API and nowhere else.
    secureRoutes: [`${settings.authority}/api/`],

    // One page, so no routes to go to after signing in.
    triggerAuthorizationResultEvent: true,
    logLevel: LogLevel.Warn,
  };
}
