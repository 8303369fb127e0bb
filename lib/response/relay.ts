import type { IncomingMessage } from 'node:http';
import type { Readable, Transform } from 'node:stream';
import type { ClientResponse } from '../client/client-response.js';
import { BODY_LINGER } from '../defaults.js';
import { takePieces } from '../fast-path/body-push.js';
import { takeChunks } from '../fast-path/chunk-passthrough.js';
import { forEachChunk } from '../fast-path/chunk-scanner.js';
import type { ExchangeObservers } from '../observe/exchange-observers.js';
import { readAsBytes, readBytes } from '../request/reader-encodings.js';
import { ByteOrderMarkFilter } from './byte-order-mark.js';
import { type Coalesced, WriteCoalescer } from './write-coalescer.js';

/** Whoever limits how long a body may stand still. */
export interface BodyDeadlines {
  /** From now on it is the upstream (`idle`) or the client (`drain`) that is waited for. */
  enter(phase: 'idle' | 'drain'): void;
}

export interface RelayOptions {
  /** The upstream's response, paused. */
  source: IncomingMessage;
  /** What its body goes through, in order. */
  stages: readonly Transform[];
  client: ClientResponse;
  observers: ExchangeObservers;
  deadlines: BodyDeadlines;
  /** The whole body was handed to the client's response. */
  ended(): void;
  /** A stage failed, such as a decoder or a transform. */
  failed(stage: Transform, cause: Error): void;
}

/**
 * The body on its way to the client: what came in one tick leaves at its end, at the pace of the client. Between
 * the two are no stages, or few: a decoder, a transform.
 */
export class Relay {
  /** What the client gets. */
  readonly #body: Readable;
  readonly #source: IncomingMessage;
  readonly #stages: readonly Transform[];
  readonly #client: ClientResponse;
  readonly #options: RelayOptions;
  readonly #observers: ExchangeObservers;
  readonly #deadlines: BodyDeadlines;
  readonly #coalescer = new WriteCoalescer((coalesced) => this.#send(coalesced));
  readonly #listeners: ((chunk: Buffer) => void)[] = [];
  #hasBegun = false;
  /** There while a byte order mark is to be left out. */
  #markFilter: ByteOrderMarkFilter | undefined;
  #isDetached = false;
  #onCut: (() => void) | undefined;
  #linger: NodeJS.Timeout | undefined;

  constructor(options: RelayOptions) {
    const { source, stages, client, deadlines } = options;
    this.#options = options;
    this.#source = source;
    this.#stages = stages;
    this.#client = client;
    this.#observers = options.observers;
    this.#deadlines = deadlines;
    const onData = this.#onData.bind(this);
    this.#body = readAsBytes(source, () => {
      return stages.reduce<Readable>((from, stage) => from.pipe(stage), source).on('data', onData);
    });
    // As `pipe` would: a hook may have paused it.
    if (this.#body.isPaused()) this.#body.resume();
    if (stages.length === 0) {
      takePieces(source, onData);
      takeChunks(source, () => this.#wantsChunks, this.#onChunks.bind(this));
    }
    client.onDrain(() => this.#onDrain());
    // Of a body that goes through stages, what the client gets does not tell how the upstream is.
    if (stages.length > 0) source.on('data', () => this.#touch());
    deadlines.enter('idle');
    for (const stage of stages) stage.once('error', (cause) => this.#onError(stage, cause));
    this.#body.once('end', () => this.#onEnd());
    // Its head is all that the client gets: what comes is for those alone who observe it.
    this.#isDetached = !client.takesBody;
  }

  /** The callback is told of each chunk before it is sent, which is at the end of the same tick. */
  observe(callback: (chunk: Buffer) => void): void {
    this.#listeners.push(callback);
  }

  get #wantsChunks(): boolean {
    return this.#client.takesChunks && this.#markFilter === undefined && !this.#isDetached;
  }

  #onChunks(chunks: Buffer, size: number): void {
    this.#begin();
    if (this.#listeners.length > 0) forEachChunk(chunks, (bytes) => this.#tell(bytes));
    this.#coalescer.pushChunks(chunks, size);
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
    if (this.#markFilter === undefined) this.#coalescer.push(chunk);
    else this.#pushWithoutMark(this.#markFilter, chunk);
  }

  #send(coalesced: Coalesced): void {
    this.#observers.summary.bytes += coalesced.size;
    const isLast = this.#stages.length === 0 && this.#source.complete;
    if (this.#client.write(coalesced, isLast)) {
      if (!isLast) this.#deadlines.enter('idle');
      return;
    }
    // From here on it is the client that is waited for.
    this.#body.pause();
    this.#deadlines.enter('drain');
  }

  /** The client has left, and the body goes on to flow for those who listen. */
  detach(): void {
    this.#isDetached = true;
    this.#coalescer.clear();
    this.#deadlines.enter('idle');
    this.#body.resume();
  }

  /** Something was sent in front of the body, where a byte order mark is one no more. */
  skipByteOrderMark(): void {
    this.#markFilter ??= new ByteOrderMarkFilter();
  }

  #pushWithoutMark(filter: ByteOrderMarkFilter, chunk: Buffer): void {
    for (const bytes of filter.filter(chunk)) this.#coalescer.push(bytes);
    if (filter.isDone) this.#markFilter = undefined;
  }

  /** The body broke off: hands on what has come of it, and then calls back. */
  cut(callback: () => void): void {
    // Bytes after the end of a message make it a broken one, and with all its bytes it would look whole.
    if (this.#source.complete && this.#client.isLengthDelimited) this.#coalescer.clear();
    else this.#readRest();
    const [first] = this.#stages;
    if (first !== undefined) this.#source.unpipe(first);
    this.#onCut = callback;
    // A client that does not read would have them wait for good.
    this.#linger = setTimeout(() => this.#onEnd(), BODY_LINGER);
    this.#endStage(this.#stages.findLastIndex((stage) => stage.destroyed) + 1);
  }

  stop(): void {
    clearTimeout(this.#linger);
  }

  #onDrain(): void {
    if (this.#isDetached) return;
    this.#deadlines.enter('idle');
    this.#body.resume();
  }

  #touch(): void {
    if (!this.#body.isPaused()) this.#deadlines.enter('idle');
  }

  /** What came in the same read as a failure is not to be lost. */
  #readRest(): void {
    const source = this.#source;
    for (let chunk = readBytes(source); chunk !== null; chunk = readBytes(source)) {
      // Of a source that has failed, `read` hands out what is buffered, but emits it no more.
      if (source.errored !== null) source.emit('data', chunk);
    }
  }

  #onEnd(): void {
    clearTimeout(this.#linger);
    for (const bytes of this.#markFilter?.rest() ?? []) this.#coalescer.push(bytes);
    this.#coalescer.flush();
    const onCut = this.#onCut;
    this.#onCut = undefined;
    if (onCut === undefined) this.#options.ended();
    else onCut();
  }

  #onError(stage: Transform, cause: Error): void {
    const { readableEnded, readableDidRead } = this.#source;
    this.#passRest(stage);
    // A body that broke off cannot be decoded to its end; and no bytes at all are no broken coding.
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

  /** Behind the last of them there is nothing left to wait for. */
  #endStage(index: number): void {
    const stage = this.#stages[index];
    if (stage === undefined || this.#body.readableEnded) this.#onEnd();
    else stage.end();
  }
}
