import { JsonPipe } from '@angular/common';
import { ChangeDetectionStrategy, Component, computed, inject } from '@angular/core';

import { ClaimList } from './claim-list';
import { AUTHORIZATION_DETAILS, SCOPE } from './config';
import { ProblemLog } from './problem-log';
import { Session } from './session';
import { SETTINGS } from './settings';

@Component({
  selector: 'app-root',
  imports: [ClaimList, JsonPipe],
  templateUrl: './app.html',
  changeDetection: ChangeDetectionStrategy.OnPush,
})
export class App {
  protected readonly session = inject(Session);
  protected readonly problem = inject(ProblemLog).last;
  protected readonly settings = inject(SETTINGS);

  protected readonly askedScopes = SCOPE.split(' ');
  protected readonly askedDetails = AUTHORIZATION_DETAILS;

  protected readonly name = computed(() => {
    const { name, preferred_username, sub } = { ...this.session.claims(), ...this.session.userInfo() };
    return String(name ?? preferred_username ?? sub ?? '');
  });
  protected readonly grantedScopes = computed(() => this.session.tokenResponse()?.scope?.split(' ') ?? []);
  protected readonly grantedDetails = computed(() => this.session.tokenResponse()?.authorization_details ?? []);

  constructor() {
    this.session.start();
  }
}
