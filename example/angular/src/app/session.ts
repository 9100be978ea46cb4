import { HttpClient } from '@angular/common/http';
import { Injectable, effect, inject, signal } from '@angular/core';
import { AuthResult, EventTypes, OidcSecurityService, PublicEventsService } from 'angular-auth-oidc-client';
import { Observable, finalize, forkJoin } from 'rxjs';

import { ProblemLog } from './problem-log';
import { SETTINGS } from './settings';

export type Claims = Record<string, unknown>;

/** What the token endpoint granted, beside the tokens (RFC 6749 §5.1, RFC 9396 §7). */
export type TokenResponse = AuthResult & { authorization_details?: unknown[] };

type Action = 'sign-in' | 'renew' | 'call-api' | 'sign-out';

const SIGN_IN_ENDED =
  'The provider no longer accepts this sign-in: it has expired, or access was withdrawn. Please sign in again.';

/** The user's sign-in, as signals for the page. */
@Injectable({ providedIn: 'root' })
export class Session {
  private readonly oidc = inject(OidcSecurityService);
  private readonly events = inject(PublicEventsService);
  private readonly http = inject(HttpClient);
  private readonly problems = inject(ProblemLog);
  private readonly settings = inject(SETTINGS);

  readonly state = signal<'starting' | 'signed-out' | 'signed-in'>('starting');
  readonly busy = signal<Action | null>(null);
  readonly notice = signal<string | null>(null);
  readonly claims = signal<Claims>({});
  readonly userInfo = signal<Claims>({});
  readonly tokenResponse = signal<TokenResponse | null>(null);
  readonly renewals = signal(0);
  readonly apiAnswer = signal<Claims | null>(null);

  constructor() {
    // The library logs a refused pushed request and says nothing else, so a
    // reported problem is what ends the waiting.
    effect(() => {
      if (this.problems.last()) {
        this.busy.set(null);
      }
    });
    // "Back" can restore this page as it was while it left for the provider.
    window.addEventListener('pageshow', ({ persisted }) => persisted && this.busy.set(null));

    this.events.registerForEvents().subscribe(({ type, value }) => {
      if (type === EventTypes.NewAuthenticationResult && value.isAuthenticated && value.isRenewProcess) {
        this.renewals.update((count) => count + 1);
        this.readTokens();
      } else if (type === EventTypes.SilentRenewFailed) {
        this.signedOut(SIGN_IN_ENDED);
      }
    });
  }

  /** Takes up the answer in the address bar, or the sign-in this tab already has. */
  start(): void {
    const refusal = this.takeRefusal();
    this.oidc.checkAuth().subscribe(({ isAuthenticated, errorMessage }) => {
      if (isAuthenticated) {
        this.readTokens();
      } else {
        this.signedOut(errorMessage ? 'Signing in did not complete. Please try again.' : null);
      }
      if (refusal) {
        this.notice.set(refusal);
      }
    });
  }

  signIn(): void {
    this.begin('sign-in');
    this.oidc.authorize();
  }

  renew(): void {
    this.begin('renew');
    this.run(this.oidc.forceRefreshSession());
  }

  callApi(): void {
    this.begin('call-api');
    this.apiAnswer.set(null);
    this.run(this.http.get<Claims>(`${this.settings.authority}/api/me`), (answer) => this.apiAnswer.set(answer));
  }

  signOut(): void {
    this.begin('sign-out');
    this.run(this.oidc.logoffAndRevokeTokens());
  }

  private begin(action: Action): void {
    this.problems.clear();
    this.notice.set(null);
    this.busy.set(action);
  }

  private run<T>(request: Observable<T>, then?: (answer: T) => void): void {
    request.pipe(finalize(() => this.busy.set(null))).subscribe({
      next: then,
      // What the library has already reported in more detail is not replaced.
      error: (error) => this.problems.last() ?? this.problems.report(error),
    });
  }

  private readTokens(): void {
    forkJoin([
      this.oidc.getPayloadFromIdToken(),
      this.oidc.getUserData(),
      this.oidc.getAuthenticationResult(),
    ]).subscribe(([claims, userInfo, tokenResponse]) => {
      this.claims.set(claims);
      this.userInfo.set(userInfo ?? {});
      this.tokenResponse.set(tokenResponse);
      this.state.set('signed-in');
    });
  }

  private signedOut(notice: string | null): void {
    this.notice.set(notice);
    this.claims.set({});
    this.userInfo.set({});
    this.tokenResponse.set(null);
    this.apiAnswer.set(null);
    this.renewals.set(0);
    this.state.set('signed-out');
  }

  /**
   * Turns an answer that is not a code into plain words, and takes it out of
   * the address bar. Anyone can write an address, so only the fixed words below
   * are shown, never text from it. An answer from another issuer than the one
   * asked is dropped unread (RFC 9207 §2.4).
   */
  private takeRefusal(): string | null {
    const answer = new URLSearchParams(window.location.search);
    const issuer = answer.get('iss');
    const error = answer.get('error');
    const stranger = issuer !== null && issuer !== this.settings.authority;
    if (!stranger && error === null) {
      return null;
    }
    window.history.replaceState(null, '', window.location.pathname);
    if (stranger) {
      return 'An answer arrived from a provider that was not asked. It was ignored.';
    }
    switch (error) {
      case 'access_denied':
        return 'You did not allow access, so you are not signed in. Nothing was shared.';
      case 'login_required':
      case 'consent_required':
      case 'interaction_required':
        return 'The provider needs to ask you something first. Please sign in.';
      case 'invalid_request_uri':
        return 'The sign-in took too long or was already finished. Please try again.';
      default:
        return 'The provider could not complete the sign-in. Please try again.';
    }
  }
}
