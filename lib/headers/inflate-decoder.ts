import { Transform, type TransformCallback } from 'node:stream';
import zlib from 'node:zlib';

/** RFC 1950 2.2: the compression method, in the low half of the first byte of a zlib stream. */
const DEFLATE_METHOD = 8;

/**
 * Decodes the content coding `deflate`, which is the zlib format (RFC 9110 8.4.1.2). Some senders leave out its wrapper: the first
 * byte tells, as it does for Node's `fetch` and for browsers.
 */
export class InflateDecoder extends Transform {
  #inflate: zlib.Inflate | zlib.InflateRaw | undefined;

  override _transform(chunk: Buffer, _encoding: BufferEncoding, callback: TransformCallback): void {
    if (chunk.length === 0) {
      callback();
      return;
    }
    this.#inflate ??= this.#start(chunk[0] as number);
    this.#inflate.write(chunk, (error) => {
      if (!error) callback();
    });
  }

  #start(firstByte: number): zlib.Inflate | zlib.InflateRaw {
    const isWrapped = (firstByte & 0x0f) === DEFLATE_METHOD;
    const inflate = isWrapped ? zlib.createInflate() : zlib.createInflateRaw();
    return inflate
      .on('data', (decoded: Buffer) => {
        if (!this.push(decoded)) inflate.pause();
      })
      .once('end', () => this.push(null))
      .on('error', (error) => {
        for (let rest = inflate.read(); rest !== null; rest = inflate.read()) this.push(rest);
        this.destroy(error);
      });
  }

  override _read(size: number): void {
    this.#inflate?.resume();
    super._read(size);
  }

  override _flush(callback: TransformCallback): void {
    if (this.#inflate === undefined || this.#inflate.readableEnded) callback();
    else this.#inflate.once('end', () => callback()).end();
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.#inflate?.destroy();
    callback(error);
  }
}
