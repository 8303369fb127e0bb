import { ERROR_EVENT_TEXT } from '../defaults.js';
import { isErrorStatus, SseProxyError } from '../errors.js';
import type { ParsedEvent } from '../formats/format.js';
import type { Config } from '../types/config.js';
import type { Exchange } from '../types/hooks.js';
import type { Provider } from '../types/provider.js';
import { isObject, quote } from '../util/checks.js';
import { tryHook } from '../util/hooks.js';

type LogError = Config['logError'];

/** The status that `errorStatus` gives; `undefined` where the event is no error. What is no status of an error is logged. */
export function knownStatus(given: unknown, logError: LogError): number | undefined {
  if (given === undefined || given === null || given === false) return undefined;
  if (isErrorStatus(given)) return given;
  logError(`errorStatus must give a status of 400 to 599, got ${quote(given)}: taken for 502`);
  return 502;
}

/** Notices the first error event in the midst of a stream, which has begun as an answer. Its bytes pass as they came. */
export class ErrorWatch {
  /** What the provider has said. */
  error: SseProxyError | undefined;
  readonly #provider: Provider;
  readonly #exchange: Exchange;
  readonly #logError: LogError;
  #hasGivenUp = false;

  constructor(provider: Provider, exchange: Exchange, logError: LogError) {
    this.#provider = provider;
    this.#exchange = exchange;
    this.#logError = logError;
  }

  look(event: ParsedEvent): void {
    if (this.error !== undefined || this.#hasGivenUp) return;
    const ask = (): unknown => this.#provider.errorStatus?.(event, this.#exchange);
    const answer = tryHook('errorStatus', ask, (status) => ({ status }), this.#logError);
    this.#hasGivenUp = answer === undefined;
    const statusCode = knownStatus(answer?.status, this.#logError);
    if (statusCode === undefined) return;
    this.error = new SseProxyError('UPSTREAM_ERROR_EVENT', { statusCode, cause: causeOf(event) });
  }
}

/** The event as an error, for logs: its text, and its code where it has one. */
function causeOf(event: ParsedEvent): Error {
  const cause = new Error(event.data.slice(0, ERROR_EVENT_TEXT));
  const said = event.json();
  const within = isObject(said) ? [said.error, isObject(said.response) ? said.response.error : undefined, said] : [];
  const codes = within.filter(isObject).flatMap(({ code, type, status }) => [code, type, status]);
  // Where the event does not say it inside, its type may be the error's name.
  const code = [...codes, event.event].find((value) => typeof value === 'string' && value !== '' && value !== 'error');
  return code === undefined ? cause : Object.assign(cause, { code });
}
