import { InjectionToken } from '@angular/core';

/** What differs between installations; served as config.json beside the application. */
export interface Settings {
  /** The issuer, exactly as the provider's discovery document spells it. */
  authority: string;
  clientId: string;
  /** Needed only for providers that repeat the nonce in refreshed ID tokens. */
  ignoreNonceAfterRefresh: boolean;
}

export const SETTINGS = new InjectionToken<Settings>('settings');

export async function loadSettings(): Promise<Settings> {
  const response = await fetch('config.json', { cache: 'no-store' });
  if (!response.ok) {
    throw new Error(`config.json answered ${response.status}`);
  }
  return response.json();
}
