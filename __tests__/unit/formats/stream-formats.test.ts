import { describe, expect, it } from '@jest/globals';
import { acceptsEventStream } from '../../../lib/formats/stream-formats.js';
import { isEventStreamType } from '../../support/streams/event-streams.js';

describe('a Content-Type', () => {
  it.each([
    'text/event-stream',
    'text/event-stream; charset=utf-8',
    'text/event-stream;charset="utf-8";profile=x',
    'TEXT/Event-Stream',
    '  text/event-stream  ',
    'text/event-stream;',
    'text/event-stream; charset',
    'application/x-ndjson',
    'application/jsonl',
    'application/stream+json',
  ])('Content-Type: %j is an event stream', (type) => {
    expect(isEventStreamType(type)).toBe(true);
  });

  it.each([
    'text/event-streamfoo',
    'xtext/event-stream',
    'text/event',
    'text/plain; type=text/event-stream',
    'application/json',
    'application/json-seq',
    'text event-stream',
    '',
    '/',
    undefined,
  ])('Content-Type: %j is no event stream', (type) => {
    expect(isEventStreamType(type)).toBe(false);
  });
});

describe('an Accept field', () => {
  it.each([
    'text/event-stream',
    'application/json, text/event-stream',
    'application/json;q=0.9,TEXT/EVENT-STREAM;q=0.1',
    'application/x-ndjson',
  ])('Accept: %j asks for an event stream', (accept) => {
    expect(acceptsEventStream(accept)).toBe(true);
  });

  it.each(['*/*', 'text/*', 'application/json', '', ',', undefined])(
    'Accept: %j does not ask for an event stream',
    (accept) => {
      expect(acceptsEventStream(accept)).toBe(false);
    },
  );
});
