import { HttpErrorResponse } from '@angular/common/http';
import { Injectable, signal } from '@angular/core';
import { AbstractLoggerService } from 'angular-auth-oidc-client';

/**
 * Keeps the last thing that went wrong, for the page to show. It is also the
 * library's logger, because a pushed request that fails is only logged, never
 * returned to the caller.
 */
@Injectable({ providedIn: 'root' })
export class ProblemLog implements AbstractLoggerService {
  readonly last = signal<string | null>(null);

  clear(): void {
    this.last.set(null);
  }

  report(problem: unknown): void {
    this.last.set(describe(problem));
  }

  logError(message: string, ...details: unknown[]): void {
    console.error(message, ...details);
    this.report(details.find((detail) => detail instanceof Error || detail instanceof HttpErrorResponse) ?? message);
  }

  logWarning(message: string, ...details: unknown[]): void {
    console.warn(message, ...details);
  }

  logDebug(message: string, ...details: unknown[]): void {
    console.debug(message, ...details);
  }
}

function describe(problem: unknown): string {
  if (problem instanceof HttpErrorResponse) {
    if (problem.status === 0) {
      return `No answer from ${new URL(problem.url ?? '', window.location.href).host}. Is the provider running?`;
    }
    const { error, error_description: description } = problem.error ?? {};
    return error ? [error, description].filter(Boolean).join(': ') : problem.message;
  }
  return problem instanceof Error ? problem.message : String(problem);
}
