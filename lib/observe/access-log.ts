import type { IncomingMessage } from 'node:http';
import bytes from 'bytes';
import type { Exchange } from '../types/hooks.js';
import type { StreamSummary, Usage } from '../types/summary.js';
import { causeCode } from '../util/cause-code.js';
import { aFunction, checkNested, isObject, oneOf, quote } from '../util/checks.js';
import { escapeIn, pathOf, word } from './log-text.js';

export interface AccessLogOptions {
  /**
   * Called with each line, without a line break.
   *
   * @default console.log
   */
  write?: (line: string) => void;
  /**
   * `'text'` is for people, `'json'` is one object per line.
   *
   * @default 'text'
   */
  format?: 'text' | 'json';
}

const CHECKS = { write: aFunction, format: oneOf('text', 'json') };

/**
 * Creates an `onFinish` that writes a line for each exchange:
 * `POST /openai/v1/chat/completions 200 completed gpt-5-mini 12+345 tokens 16.9 KB first token 312 ms total 4.2 s`. What is not
 * known is left out. So is the query, which may hold credentials. The path is the one that the client asked for (Express's
 * `originalUrl`). Of an exchange that has failed, the code of what made it fail and the target's origin are told, too:
 * `POST /openai/v1/models 502 upstream-error UPSTREAM_UNREACHABLE ECONNREFUSED at http://10.0.0.7:8080 96 B total 3 ms`.
 *
 * With `format: 'json'`, the members have the names of OpenTelemetry's semantic conventions, where these have one: those for
 * [HTTP](https://opentelemetry.io/docs/specs/semconv/http/http-spans/) and for
 * [GenAI](https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/) (status: development). Our own are `outcome`,
 * `error_cause` (such as `ECONNREFUSED`), `attempts`, `first_token_ms` and `total_ms`.
 *
 * @example
 * createSseProxy({ target, onFinish: accessLog({ format: 'json' }) });
 *
 * @throws {TypeError} for options that cannot be right
 */
export function accessLog(options: AccessLogOptions = {}): (summary: StreamSummary, exchange: Exchange) => void {
  const given: unknown = options;
  if (!isObject(given)) throw new TypeError(`accessLog needs an object of options, got ${quote(given)}`);
  checkNested('accessLog', options, CHECKS);
  const { write = (line: string): void => console.log(line), format = 'text' } = options;
  const lineOf = format === 'json' ? jsonLine : textLine;
  // `write` may return a promise: if it rejects, that is logged like the error of any hook.
  return (summary, { req }) => write(lineOf(summary, req));
}

function textLine(summary: StreamSummary, req: IncomingMessage): string {
  const { statusCode, outcome, error, model, usage, cost, attempts, timings, target } = summary;
  const parts = [
    word(req.method ?? '-'),
    word(pathOf(req)),
    statusCode ?? '-',
    outcome,
    error?.code,
    error && causeCode(error),
    error && target && `at ${word(target)}`,
    model && word(model),
    usage && tokens(usage),
    cost !== undefined && `cost ${Number(cost.toPrecision(3))}`,
    bytes.format(summary.bytes, { decimalPlaces: 1, unitSeparator: ' ' }),
    attempts.length > 1 && `${attempts.length} attempts${whom(attempts)}`,
    timings.firstToken !== undefined && `first token ${duration(timings.firstToken)}`,
    `total ${duration(timings.total)}`,
  ];
  return parts.filter(Boolean).join(' ');
}

/** The provider of each attempt, the last of which has answered; empty where all were of one. */
function whom(attempts: StreamSummary['attempts']): string {
  const names = attempts.map(({ provider }) => (provider === undefined ? '-' : word(provider)));
  return new Set(names).size > 1 ? ` (${names.join(', ')})` : '';
}

/** `?` stands for a figure that was not reported. */
function tokens({ inputTokens, outputTokens, complete, retrieved }: Usage): string | undefined {
  if (inputTokens === undefined && outputTokens === undefined) return undefined;
  const note = retrieved ? ' (retrieved)' : complete ? '' : ' (incomplete)';
  return `${inputTokens ?? '?'}+${outputTokens ?? '?'} tokens${note}`;
}

function duration(milliseconds: number): string {
  const rounded = Math.round(milliseconds);
  return rounded < 1000 ? `${rounded} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

function jsonLine(summary: StreamSummary, req: IncomingMessage): string {
  const {
    statusCode,
    outcome,
    error,
    provider,
    requestModel,
    model,
    finishReason,
    usage,
    cost,
    attempts,
    timings,
    target,
  } = summary;
  const isError = statusCode !== undefined && statusCode >= 400;
  const line = JSON.stringify({
    'http.request.method': req.method,
    'url.path': pathOf(req),
    'http.response.status_code': statusCode,
    'http.response.body.size': summary.bytes,
    outcome,
    'error.type': error?.code ?? (isError ? String(statusCode) : undefined),
    error_cause: causeCode(error),
    ...serverOf(target),
    'gen_ai.provider.name': provider,
    'gen_ai.request.model': requestModel,
    'gen_ai.response.model': model,
    'gen_ai.response.finish_reasons': finishReason === undefined ? undefined : [finishReason],
    'gen_ai.usage.input_tokens': usage?.inputTokens,
    'gen_ai.usage.output_tokens': usage?.outputTokens,
    'gen_ai.usage.cache_read.input_tokens': usage?.cachedInputTokens,
    'gen_ai.usage.cache_creation.input_tokens': usage?.cacheCreationInputTokens,
    'gen_ai.usage.reasoning.output_tokens': usage?.reasoningTokens,
    cost,
    usage_retrieved: usage?.retrieved,
    attempts: attempts.length,
    first_token_ms: timings.firstToken === undefined ? undefined : Math.round(timings.firstToken),
    total_ms: Math.round(timings.total),
  });
  // JSON allows these characters within strings, and has none of them elsewhere.
  return escapeIn(line, /[\p{C}\u2028\u2029]/gu);
}

/** The upstream's host and port; nothing for a target without a host, such as a Unix socket. */
function serverOf(target: string | undefined): { 'server.address'?: string; 'server.port'?: number } {
  if (target === undefined || !URL.canParse(target)) return {};
  const { hostname, port, protocol } = new URL(target);
  if (hostname === '') return {};
  return { 'server.address': hostname, 'server.port': Number(port || (/^(https|wss):/.test(protocol) ? 443 : 80)) };
}
