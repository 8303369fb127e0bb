import { maskedLog, type Secrets } from '../credentials/secrets.js';
import { CAUSE_TEXT } from '../defaults.js';
import { outcomeOf, type SseProxyError, type SseProxyErrorCode } from '../errors.js';
import type { Config } from '../types/config.js';
import { causeCode } from '../util/cause-code.js';
import { distinct, lineOf, writeOnConsole } from '../util/error-log.js';
import { memberOf } from '../util/member-of.js';
import { adviceFor } from './advice.js';
import { word } from './log-text.js';

/** Where a failure has happened. */
export interface FailureScene {
  /** The origin of the target; `undefined` where no request was sent. */
  readonly target: string | undefined;
  /** The credentials that the request was sent with. */
  readonly secrets?: Secrets | undefined;
}

/** Failures that nobody has to do anything about: they are what was asked for, or the client's own. */
const EXPECTED: ReadonlySet<SseProxyErrorCode> = new Set(['CLIENT_TIMEOUT', 'TOTAL_TIMEOUT']);

/**
 * Tells whoever runs the app of failures that would leave no trace: of each hook that fails, and where nothing was set up that could
 * tell (`logger`, `onFinish`, `onError: 'next'`), of the first failure per target and code.
 */
export class FailureReport {
  readonly #config: Config;
  readonly #warns: boolean;
  readonly #isNew = distinct();
  /** A failure may be reported where it happens, and again where it ends the exchange. */
  readonly #told = new WeakSet<SseProxyError>();

  constructor(config: Config) {
    this.#config = config;
    this.#warns = config.hpm.logger === undefined && config.onFinish === undefined && config.onError === 'respond';
  }

  /** A hook has failed, whether or not anybody still waits for what it was to do. */
  hookFailed(error: SseProxyError, { secrets }: Pick<FailureScene, 'secrets'>): void {
    if (error.code !== 'HOOK_FAILED' || this.#told.has(error)) return;
    this.#told.add(error);
    maskedLog(this.#config.logError, secrets)(`${error.hook ?? 'a hook'} failed`, error.cause);
  }

  /** An attempt, or the exchange, has failed. */
  failed(error: SseProxyError, scene: FailureScene): void {
    this.hookFailed(error, scene);
    if (!this.#warns || error.code === 'HOOK_FAILED' || EXPECTED.has(error.code)) return;
    const outcome = outcomeOf(error);
    if (outcome === 'refused' || outcome === 'drained') return;
    const { target = '' } = scene;
    const code = causeCode(error);
    if (!this.#isNew(`${target} ${error.code} ${code}`)) return;
    const mask = (text: string): string => scene.secrets?.mask(text) ?? text;
    const what = `${error.message.replace(/\.$/, '')} (${reasonOf(error, code, mask)})`;
    const text = `${target && `${word(target)}: `}${what}. ${adviceFor(error)} ${ONCE}`;
    writeOnConsole('warn', lineOf(text));
  }
}

const ONCE =
  'This is said once per target and code; `onFinish: accessLog()` tells of every exchange, and docs/errors.md of every code.';

/** `UPSTREAM_UNREACHABLE, ECONNREFUSED: connect ECONNREFUSED 127.0.0.1:1` */
function reasonOf(error: SseProxyError, code: string | undefined, mask: (text: string) => string): string {
  const message = memberOf(error.cause, 'message');
  const said = typeof message === 'string' ? mask(message).replace(/\s+/g, ' ').trim().slice(0, CAUSE_TEXT) : '';
  return `${error.code}${code === undefined ? '' : `, ${code}`}${said && `: ${said}`}`;
}
