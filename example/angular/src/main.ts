import { bootstrapApplication } from '@angular/platform-browser';

import { App } from './app/app';
import { providersFor } from './app/config';
import { loadSettings } from './app/settings';

loadSettings()
  .then((settings) => bootstrapApplication(App, { providers: providersFor(settings) }))
  .catch((error) => {
    console.error(error);
    document.querySelector('app-root')!.textContent = `The application cannot start: ${error.message}`;
  });
