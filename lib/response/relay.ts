import type { IncomingMessage } from 'node:http';
import type { Readable, Transform } from 'node:stream';
import type { ClientResponse } from '../client/client-response.js';
import { BODY_LINGER, WRITE_SIZE } from '../defaults.js';
import { takePieces } from '../fast-path/body-push.js';
import { takeChunks } from '../fast-path/chunk-passthrough.js';
import { forEachChunk } from '../fast-path/chunk-scanner.js';
import type { ExchangeObservers } from '../observe/exchange-observers.js';
import { readAsBytes, readBytes } from '../request/reader-encodings.js';
import { ByteOrderMarkFilter } from './byte-order-mark.js';
import type { EventHold } from './event-hold.js';
import { type Coalesced, WriteCoalescer } from './write-coalescer.js';

/** The deadlines of a body. */
export interface BodyDeadlines {
  /** From now on the relay waits for the upstream (`idle`) or for the client (`drain`). */
  enter(phase: 'idle' | 'drain'): void;
}

export interface RelayOptions {
  /** The upstream's response, paused. */
  source: IncomingMessage;
  /** The transforms that the body goes through, in order. */
  stages: readonly Transform[];
  client: ClientResponse;
  observers: ExchangeObservers;
  deadlines: BodyDeadlines;
  /** Has the client get whole events only; `undefined` where all passes as it comes. */
  hold?: EventHold | undefined;
  /** The whole body was written to the client's response. */
  ended(): void;
  /** A stage failed, such as a decoder or a transform. */
  failed(stage: Transform, cause: Error): void;
}

/**
 * Relays a body to the client, with backpressure: chunks that arrive in one tick are written together at its end. In between are
 * the stages, if there are any.
 */
export class Relay {
  /** The end of the stages: what the client gets. */
  readonly #body: Readable;
  readonly #source: IncomingMessage;
  readonly #stages: readonly Transform[];
  readonly #client: ClientResponse;
  readonly #options: RelayOptions;
  readonly #observers: ExchangeObservers;
  readonly #deadlines: BodyDeadlines;
  readonly #coalescer = new WriteCoalescer((coalesced) => this.#onCoalesced(coalesced));
  /** What waits for a client that has not taken what was written. */
  readonly #backlog: Coalesced[] = [];
  /** The client is waited for. */
  #isFull = false;
  /** All of the body has come, and some of it waits for the client. */
  #endsLater = false;
  readonly #listeners: ((chunk: Buffer) => void)[] = [];
  readonly #hold: EventHold | undefined;
  /** Where some of what comes is held back, what is sent is another thing. */
  readonly #sentListeners: ((chunk: Buffer) => void)[];
  #hasBegun = false;
  /** Set while a byte order mark is to be left out. */
  #markFilter: ByteOrderMarkFilter | undefined;
  #isDetached = false;
  #onCut: (() => void) | undefined;
  /** Nothing may go behind what the client is told of the cut. */
  #isCut = false;
  #linger: NodeJS.Timeout | undefined;

  constructor(options: RelayOptions) {
    const { source, stages, client, deadlines } = options;
    this.#options = options;
    this.#source = source;
    this.#stages = stages;
    this.#client = client;
    this.#observers = options.observers;
    this.#deadlines = deadlines;
    this.#hold = options.hold;
    this.#sentListeners = options.hold === undefined ? this.#listeners : [];
    const onData = this.#onData.bind(this);
    this.#body = readAsBytes(source, () => {
      return stages.reduce<Readable>((from, stage) => from.pipe(stage), source).on('data', onData);
    });
    // As `pipe` would do: a hook may have paused the body.
    if (this.#body.isPaused()) this.#body.resume();
    if (stages.length === 0) {
      takePieces(source, onData);
      takeChunks(source, () => this.#wantsChunks, this.#onChunks.bind(this));
    }
    client.onDrain(() => this.#onDrain());
    // Behind stages, what the client gets does not show whether the upstream is idle.
    if (stages.length > 0) source.on('data', () => this.#touch());
    deadlines.enter('idle');
    for (const stage of stages) stage.once('error', (cause) => this.#onError(stage, cause));
    this.#body.once('end', () => this.#onEnd());
    // The client gets the head only. The body is read for its observers.
    this.#isDetached = !client.takesBody;
  }

  /** The callback is told of each chunk that is about to be sent. */
  observeSent(callback: (chunk: Buffer) => void): void {
    this.#sentListeners.push(callback);
  }

  /** Calls back with each chunk before it is sent, which is at the end of the same tick. */
  observe(callback: (chunk: Buffer) => void): void {
    this.#listeners.push(callback);
  }

  get #wantsChunks(): boolean {
    return this.#client.takesChunks && this.#markFilter === undefined && !this.#isDetached;
  }

  #onChunks(chunks: Buffer, size: number): void {
    this.#begin();
    if (this.#hold !== undefined) {
      this.#holdChunks(this.#hold, chunks, size);
      return;
    }
    if (this.#listeners.length > 0) forEachChunk(chunks, (bytes) => this.#tell(bytes));
    this.#coalescer.pushChunks(chunks, size);
  }

  #holdChunks(hold: EventHold, chunks: Buffer, size: number): void {
    const pieces: Buffer[] = [];
    forEachChunk(chunks, (bytes) => {
      this.#tell(bytes);
      pieces.push(bytes);
    });
    if (!hold.passes(pieces)) {
      for (const bytes of pieces) this.#push(bytes);
      return;
    }
    for (const bytes of pieces) this.#tellSent(bytes);
    this.#coalescer.pushChunks(chunks, size);
  }

  #tellSent(chunk: Buffer): void {
    for (const observe of this.#sentListeners) observe(chunk);
  }

  #begin(): void {
    if (this.#hasBegun) return;
    this.#hasBegun = true;
    this.#observers.firstByte();
  }

  #tell(chunk: Buffer): void {
    for (const observe of this.#listeners) observe(chunk);
  }

  #onData(chunk: Buffer): void {
    this.#begin();
    this.#tell(chunk);
    if (this.#isDetached) return;
    if (this.#markFilter === undefined) this.#push(chunk);
    else this.#pushWithoutMark(this.#markFilter, chunk);
  }

  /** In pieces that the client can be seen to take: of one write nobody tells how much of it has left. */
  #push(bytes: Buffer): void {
    if (this.#hold === undefined) this.#pass(bytes);
    else this.#passHeld(this.#hold.push(bytes));
  }

  #passHeld(parts: readonly Buffer[]): void {
    const [only] = parts;
    if (only === undefined) return;
    // In one piece: its last event is looked at by itself.
    this.#tellSent(parts.length === 1 ? only : Buffer.concat(parts));
    for (const bytes of parts) this.#pass(bytes);
  }

  #pass(bytes: Buffer): void {
    if (bytes.length <= WRITE_SIZE) this.#coalescer.push(bytes);
    else for (let i = 0; i < bytes.length; i += WRITE_SIZE) this.#coalescer.push(bytes.subarray(i, i + WRITE_SIZE));
  }

  #onCoalesced(coalesced: Coalesced): void {
    if (this.#isCut) return;
    if (this.#backlog.length > 0 || this.#isFull) this.#backlog.push(coalesced);
    else this.#send(coalesced);
  }

  #send(coalesced: Coalesced): void {
    this.#observers.summary.bytes += coalesced.size;
    const isLast = this.#stages.length === 0 && this.#source.complete && this.#backlog.length === 0;
    if (this.#client.write(coalesced, isLast)) {
      if (!isLast) this.#deadlines.enter('idle');
      return;
    }
    // From here on the relay waits for the client.
    this.#isFull = true;
    this.#body.pause();
    this.#deadlines.enter('drain');
  }

  /** Whether the client's connection has taken all that has come so far. */
  get isDelivered(): boolean {
    return !this.#isFull && this.#backlog.length === 0;
  }

  /** Reads on for the observers only: the client has left. */
  detach(): void {
    this.#isDetached = true;
    this.#coalescer.clear();
    this.#backlog.length = 0;
    if (this.#endsLater) {
      this.#options.ended();
      return;
    }
    this.#deadlines.enter('idle');
    this.#body.resume();
  }

  /** Leaves out the body's byte order mark: something was sent before it, and a mark counts at the very start only. */
  skipByteOrderMark(): void {
    // It may have come, and be held back with the first event.
    if (this.#hold?.skipByteOrderMark() !== true) this.#markFilter ??= new ByteOrderMarkFilter();
  }

  #pushWithoutMark(filter: ByteOrderMarkFilter, chunk: Buffer): void {
    for (const bytes of filter.filter(chunk)) this.#push(bytes);
    if (filter.isDone) this.#markFilter = undefined;
  }

  /** The body broke off: sends what has arrived of it, and then calls back. */
  cut(callback: () => void, linger = BODY_LINGER): void {
    // With all the bytes that its Content-Length says, a broken message would look whole.
    if (this.#source.complete && this.#client.isLengthDelimited) this.#coalescer.clear();
    else this.#readRest();
    const [first] = this.#stages;
    if (first !== undefined) this.#source.unpipe(first);
    this.#onCut = callback;
    // A client that does not read would block the stages for ever.
    this.#linger = setTimeout(() => this.#onEnd(), linger);
    this.#endStage(this.#stages.findLastIndex((stage) => stage.destroyed) + 1);
  }

  stop(): void {
    clearTimeout(this.#linger);
  }

  #onDrain(): void {
    if (this.#isDetached) return;
    this.#isFull = false;
    while (this.#backlog.length > 0 && !this.#isFull) this.#send(this.#backlog.shift() as Coalesced);
    if (this.#isFull) return;
    if (this.#endsLater) {
      this.#endsLater = false;
      this.#options.ended();
      return;
    }
    this.#deadlines.enter('idle');
    this.#body.resume();
  }

  #touch(): void {
    if (!this.#body.isPaused()) this.#deadlines.enter('idle');
  }

  /** Delivers bytes that were read together with the error. */
  #readRest(): void {
    const source = this.#source;
    for (let chunk = readBytes(source); chunk !== null; chunk = readBytes(source)) {
      // After an error, `read` still returns what is buffered, but no longer emits it.
      if (source.errored !== null) source.emit('data', chunk);
    }
  }

  #onEnd(): void {
    // Of a body that was cut, the end may still be told.
    if (this.#isCut) return;
    clearTimeout(this.#linger);
    for (const bytes of this.#markFilter?.rest() ?? []) this.#push(bytes);
    const onCut = this.#onCut;
    this.#onCut = undefined;
    // Of a stream that has broken off, half an event is for nobody.
    if (onCut === undefined) this.#passHeld(this.#hold?.release() ?? []);
    this.#coalescer.flush();
    if (onCut === undefined) {
      // The rest follows as the client takes it.
      this.#endsLater = this.#backlog.length > 0;
      if (!this.#endsLater) this.#options.ended();
      return;
    }
    for (const coalesced of this.#backlog.splice(0)) this.#send(coalesced);
    this.#isCut = true;
    onCut();
  }

  #onError(stage: Transform, cause: Error): void {
    const { readableEnded, readableDidRead } = this.#source;
    this.#passRest(stage);
    // A body that broke off cannot be decoded to its end, and an empty body is not a broken one.
    if (this.#onCut !== undefined || (readableEnded && !readableDidRead))
      this.#endStage(this.#stages.indexOf(stage) + 1);
    else this.#options.failed(stage, cause);
  }

  /** What a stage had made before it failed is not to be lost either: of a stream that has failed, nothing is piped any more. */
  #passRest(stage: Transform): void {
    const next = this.#stages[this.#stages.indexOf(stage) + 1];
    for (let chunk = stage.read(); chunk !== null; chunk = stage.read()) {
      if (next === undefined) this.#onData(chunk);
      else next.write(chunk);
    }
  }

  /** Ends the stage at this index; behind the last one, the body is over. */
  #endStage(index: number): void {
    const stage = this.#stages[index];
    if (stage === undefined || this.#body.readableEnded) this.#onEnd();
    else stage.end();
  }
}
