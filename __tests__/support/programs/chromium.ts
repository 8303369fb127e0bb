import { execFileSync } from 'node:child_process';
import { type Browser, chromium } from 'playwright-core';
import { compatible } from './compatibility.js';

const executablePath = process.env.CHROMIUM_PATH ?? '/usr/bin/chromium';

/** The title of tests that run in it. */
export const CHROMIUM = compatible(
  'client',
  'Chromium',
  /[\d.]+/.exec(
    execFileSync(executablePath, ['--version'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
  )?.[0],
);

/** Debian's Chromium, headless, that asks nobody on the network for anything of its own. */
export function launchChromium(): Promise<Browser> {
  return chromium.launch({
    executablePath,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}
