import { Transform, type TransformCallback } from 'node:stream';

/** Decodes by a decoder that the first byte of the body tells. */
export class SniffingDecoder extends Transform {
  readonly #create: (firstByte: number) => Transform;
  #decoder: Transform | undefined;

  constructor(create: (firstByte: number) => Transform) {
    super();
    this.#create = create;
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, callback: TransformCallback): void {
    if (chunk.length === 0) {
      callback();
      return;
    }
    this.#decoder ??= this.#start(chunk[0] as number);
    this.#decoder.write(chunk, (error) => {
      if (!error) callback();
    });
  }

  #start(firstByte: number): Transform {
    const decoder = this.#create(firstByte);
    return decoder
      .on('data', (decoded: Buffer) => {
        if (!this.push(decoded)) decoder.pause();
      })
      .once('end', () => this.push(null))
      .on('error', (error) => {
        for (let rest = decoder.read(); rest !== null; rest = decoder.read()) this.push(rest);
        this.destroy(error);
      });
  }

  override _read(size: number): void {
    this.#decoder?.resume();
    super._read(size);
  }

  override _flush(callback: TransformCallback): void {
    if (this.#decoder === undefined || this.#decoder.readableEnded) callback();
    else this.#decoder.once('end', () => callback()).end();
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.#decoder?.destroy();
    callback(error);
  }
}
