import { ChangeDetectionStrategy, Component, computed, input } from '@angular/core';

import { Claims } from './session';

const TIMES = new Set(['exp', 'iat', 'nbf', 'auth_time', 'updated_at']);

/** Claims as name and value, times in the reader's own. */
@Component({
  selector: 'app-claim-list',
  template: `
    <dl>
      @for (row of rows(); track row.name) {
        <div>
          <dt>{{ row.name }}</dt>
          <dd [attr.data-claim]="row.name">{{ row.value }}</dd>
        </div>
      }
    </dl>
  `,
  changeDetection: ChangeDetectionStrategy.OnPush,
})
export class ClaimList {
  readonly claims = input.required<Claims>();

  protected readonly rows = computed(() =>
    Object.entries(this.claims()).map(([name, value]) => ({ name, value: readable(name, value) })),
  );
}

function readable(name: string, value: unknown): string {
  if (TIMES.has(name) && typeof value === 'number') {
    return new Date(value * 1000).toLocaleString();
  }
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) {
    return value.join(', ');
  }
  return typeof value === 'string' ? value : JSON.stringify(value, null, 1);
}
