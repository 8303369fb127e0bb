import { describe, expect, it } from '@jest/globals';
import type { EventFormat } from '../../../lib/formats/format.js';
import { json } from '../../../lib/formats/json.js';
import { jsonArray } from '../../../lib/formats/json-array.js';
import { ndjson } from '../../../lib/formats/ndjson.js';
import { sse } from '../../../lib/formats/sse.js';
import { unknownFormat } from '../../../lib/formats/unknown-format.js';
import { resolveOptions } from '../../../lib/options/resolve.js';
import { mistral, openai } from '../../../lib/providers/index.js';
import { type BodyPlan, planBody } from '../../../lib/response/body-plan.js';
import { streamFormatOf } from '../../../lib/response/stream-format.js';
import type { HeaderFields } from '../../../lib/types/http.js';
import type { SseProxyOptions } from '../../../lib/types/options.js';
import { requestWith } from '../../support/servers/bare-http.js';
import { exchangeFor } from '../../support/streams/dialects.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

const hook = (): void => {};
const provider = openai({ apiKey: 'key' });

/** By the names that they have below. */
const OPTIONS: Record<string, SseProxyOptions> = {
  onEvent: { onEvent: hook },
  transformEvent: { transformEvent: hook },
  heartbeat: { heartbeat: {} },
  provider: { provider },
  'provider whose clients hide errors': { provider: mistral({ apiKey: 'key' }) },
  onUsage: { provider, onUsage: hook },
  onFinish: { onFinish: hook },
  'truncation: event': { truncation: 'event' },
  'truncation: destroy': { truncation: 'destroy' },
  'noTransform: ignore': { noTransform: 'ignore' },
  everything: { provider, onEvent: hook, transformEvent: hook, heartbeat: {}, onUsage: hook },
};

const SSE: HeaderFields = { 'content-type': 'text/event-stream; charset=utf-8' };
const NDJSON: HeaderFields = { 'content-type': 'application/x-ndjson' };
const JSON_TYPE: HeaderFields = { 'content-type': 'application/json' };
const gzip = { 'content-encoding': 'gzip' };
const unknown = { 'content-encoding': 'gzip, br' };
const length = { 'content-length': '100' };
const noTransform = { 'cache-control': 'no-cache, No-Transform' };

interface Circumstances {
  eventStream?: boolean;
  hasExtras?: boolean;
  /** What the client's Accept-Encoding says. */
  accepts?: string;
}

async function plan(
  names: string,
  headers: HeaderFields,
  { eventStream = true, hasExtras = false, accepts = '' }: Circumstances = {},
): Promise<BodyPlan> {
  const options = names.split(', ').map((name) => OPTIONS[name] ?? {});
  const config = resolveOptions(Object.assign({ target: 'http://127.0.0.1:1' }, ...options));
  const req = await requestWith([`Accept-Encoding: ${accepts}`]);
  const context = { config: { isEventStream: () => eventStream }, exchange: exchangeFor('/'), provider: undefined };
  const streamFormat = streamFormatOf({ statusCode: 200, statusMessage: '', headers }, context);
  return planBody({ config, req, headers, streamFormat, hasExtras, provider: config.provider });
}

/** What a plan has to do: the names of all that is not off, and the codings to undo. */
function work({ format: _format, eventStream: _eventStream, decode, decodeAside, ...flags }: BodyPlan): string[] {
  return [
    ...Object.entries(flags).flatMap(([name, on]) => (on ? [name] : [])),
    ...(decode === undefined ? [] : [`decode ${decode}`]),
    ...(decodeAside === undefined ? [] : [`decodeAside ${decodeAside}`]),
  ];
}

describe('the work that a response makes', () => {
  it.each<[string, string, HeaderFields, Circumstances, string[]]>([
    // What each option asks for by itself.
    ['an event stream', 'no option', SSE, {}, []],
    ['an event stream', 'onEvent', SSE, {}, ['observes']],
    ['an event stream', 'transformEvent', SSE, {}, ['edits', 'transforms']],
    ['an event stream', 'heartbeat', SSE, {}, ['beats']],
    ['an event stream', 'onFinish', SSE, {}, []],
    ['an event stream', 'truncation: event', SSE, {}, ['reportsErrors']],
    ['an event stream', 'provider', SSE, {}, ['reportsErrors']],
    ['an event stream', 'provider, truncation: destroy', SSE, {}, []],
    ['an event stream', 'provider whose clients hide errors', SSE, {}, []],
    ['an event stream', 'provider whose clients hide errors, truncation: event', SSE, {}, ['reportsErrors']],
    ['an event stream', 'provider, onFinish', SSE, {}, ['reads', 'reportsErrors']],
    ['an event stream', 'onUsage, truncation: destroy', SSE, {}, ['reads']],
    ['an event stream', 'everything', SSE, {}, ['reads', 'observes', 'edits', 'transforms', 'beats', 'reportsErrors']],
    ['an event stream with events to take out', 'no option', SSE, { hasExtras: true }, ['removes', 'transforms']],

    // NDJSON has no comments: no heartbeats.
    ['NDJSON', 'everything', NDJSON, {}, ['reads', 'observes', 'edits', 'transforms', 'reportsErrors']],
    // A streamed array can be read, but no single event can be written into it.
    ['a streamed array', 'onEvent, onUsage', JSON_TYPE, {}, ['reads', 'observes']],
    ['a streamed array', 'heartbeat, truncation: event', JSON_TYPE, {}, []],
    ['a streamed array', 'transformEvent', JSON_TYPE, {}, ['edits', 'transforms', 'unreadable']],

    // A JSON answer is only read for what it tells.
    ['a JSON answer', 'everything', JSON_TYPE, { eventStream: false }, ['reads']],
    ['a JSON answer', 'onEvent, transformEvent, heartbeat', JSON_TYPE, { eventStream: false }, []],
    ['another JSON answer', 'everything', { 'content-type': 'application/x+json' }, { eventStream: false }, ['reads']],
    ['a JSON answer with events to take out', 'no option', JSON_TYPE, { eventStream: false, hasExtras: true }, []],
    ['a page', 'everything', { 'content-type': 'text/html' }, { eventStream: false }, []],
    ['a body without a type', 'everything', {}, { eventStream: false }, []],
    ['an event stream that is none to the user', 'everything', SSE, { eventStream: false }, []],
    ['another type that is one to the user', 'onEvent, heartbeat', { 'content-type': 'x/y' }, {}, ['isUnknown']],

    // RFC 9110 7.7.
    ['no-transform', 'onEvent, transformEvent', { ...SSE, ...noTransform }, {}, ['observes']],
    ['no-transform', 'transformEvent, noTransform: ignore', { ...SSE, ...noTransform }, {}, ['edits', 'transforms']],
    // What is there only because of this side is taken out all the same: the client gets what it would have got.
    ['no-transform', 'transformEvent', { ...SSE, ...noTransform }, { hasExtras: true }, ['removes', 'transforms']],

    // A body of known length has no room for more, unless it will have another one.
    ['a length', 'onEvent, heartbeat, truncation: event', { ...SSE, ...length }, {}, ['observes']],
    ['a length', 'transformEvent, heartbeat', { ...SSE, ...length }, {}, ['edits', 'transforms', 'beats']],
    [
      'a length',
      'truncation: event',
      { ...SSE, ...length },
      { hasExtras: true },
      ['removes', 'transforms', 'reportsErrors'],
    ],

    // In a content coding.
    ['a coding that the client does not take', 'no option', { ...SSE, ...gzip }, {}, ['decode gzip']],
    ['a coding that the client takes', 'no option', { ...SSE, ...gzip }, { accepts: 'gzip' }, ['decodeAside gzip']],
    [
      'a coding that the client takes',
      'onEvent, truncation: event',
      { ...SSE, ...gzip },
      { accepts: 'gzip' },
      ['observes', 'decodeAside gzip'],
    ],
    [
      'a coding that the client does not take, and a length',
      'onEvent, truncation: event',
      { ...SSE, ...gzip, ...length },
      {},
      ['observes', 'reportsErrors', 'decode gzip'],
    ],
    [
      'a coding that the client takes',
      'transformEvent',
      { ...SSE, ...gzip },
      { accepts: 'gzip' },
      ['edits', 'transforms', 'decode gzip'],
    ],
    ['a coding that the client takes', 'heartbeat', { ...SSE, ...gzip }, { accepts: 'gzip' }, ['beats', 'decode gzip']],
    ['the coding `identity`', 'onEvent', { ...SSE, 'content-encoding': 'identity' }, {}, ['observes']],
    [
      'codings that cannot be undone',
      'onEvent, heartbeat, truncation: event',
      { ...SSE, ...unknown },
      {},
      ['observes', 'decodeAside gzip, br'],
    ],
    [
      'codings that cannot be undone',
      'transformEvent',
      { ...SSE, ...unknown },
      {},
      ['edits', 'transforms', 'unreadable', 'decodeAside gzip, br'],
    ],
    [
      'a coded JSON answer',
      'onUsage',
      { ...JSON_TYPE, ...gzip },
      { eventStream: false },
      ['reads', 'decodeAside gzip'],
    ],
  ])('body plan: the work of a response: %s, with %s', async (_what, options, headers, circumstances, expected) => {
    const planned = work(await plan(options, headers, circumstances));
    expect(planned.sort()).toEqual([...expected].sort());
  });
});

describe('the format', () => {
  it.each<[string, boolean, string | undefined, EventFormat]>([
    ['Server-Sent Events', true, 'Text/Event-Stream;charset=utf-8', sse],
    ['NDJSON', true, 'application/x-ndjson', ndjson],
    ['NDJSON', true, 'application/jsonl', ndjson],
    ['NDJSON', true, 'application/stream+json', ndjson],
    ['a streamed array', true, 'application/json; charset=UTF-8', jsonArray],
    ['nothing that is known, in a type of the user', true, 'application/vnd.events', unknownFormat],
    ['nothing that is known, without a type', true, undefined, unknownFormat],
    ['a JSON body', false, 'application/json', json],
  ])('body plan: the format is that of %s: %p, %p', async (_name, eventStream, type, expected) => {
    const { format } = await plan('everything', type === undefined ? {} : { 'content-type': type }, { eventStream });
    expect(format).toBe(expected);
  });
});
