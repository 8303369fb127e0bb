import { describe, expect, it } from '@jest/globals';
import { WriteCoalescer } from '../../../lib/response/write-coalescer.js';

/** What is sent, in order; a line per piece. */
function coalescing(): { coalescer: WriteCoalescer; sent: string[]; sizes: number[] } {
  const sent: string[] = [];
  const sizes: number[] = [];
  const coalescer = new WriteCoalescer(({ size, chunks, pieces, piecesSize }) => {
    expect(piecesSize).toBe(Buffer.concat(pieces).length);
    sent.push([...chunks, ...pieces].join('|'));
    sizes.push(size);
  });
  return { coalescer, sent, sizes };
}

const tick = (): Promise<void> => new Promise((resolve) => process.nextTick(resolve));

describe('what comes in one tick', () => {
  it('write coalescer: what comes in one tick leaves in one piece at its end, before promises are settled', async () => {
    const { coalescer, sent } = coalescing();
    await new Promise<void>((resolve) => {
      setImmediate(() => {
        coalescer.push(Buffer.from('a'));
        coalescer.push(Buffer.from('b'));
        expect(sent).toEqual([]);
        void Promise.resolve().then(() => {
          expect(sent).toEqual(['a|b']);
          resolve();
        });
      });
    });
    coalescer.push(Buffer.from('c'));
    await tick();
    expect(sent).toEqual(['a|b', 'c']);
  });

  it('write coalescer: what comes in one tick leaves at once where it is much, and what follows after it', async () => {
    const { coalescer, sent } = coalescing();
    const much = Buffer.alloc(64 * 1024, 'x');
    coalescer.push(Buffer.from('a'));
    coalescer.push(much);
    coalescer.push(Buffer.from('b'));
    expect(sent).toEqual([`a|${much}`]);
    await tick();
    expect(sent).toEqual([`a|${much}`, 'b']);
  });

  it('write coalescer: what comes in one tick leaves in order, where whole chunks are among the pieces', async () => {
    const { coalescer, sent, sizes } = coalescing();
    coalescer.push(Buffer.from('a'));
    coalescer.push(Buffer.from('b'));
    coalescer.pushChunks(Buffer.from('1\r\nc\r\n1\r\nd\r\n'), 2);
    coalescer.push(Buffer.from('e'));
    await tick();
    expect(sent).toEqual(['2\r\nab\r\n|1\r\nc\r\n1\r\nd\r\n|e']);
    expect(sizes).toEqual([5]);
  });

  it('write coalescer: what comes in one tick leaves at once where whole chunks are much', () => {
    const { coalescer, sent } = coalescing();
    const chunk = Buffer.from(`10000\r\n${'x'.repeat(65_536)}\r\n`);
    coalescer.pushChunks(chunk, 65_536);
    expect(sent).toEqual([String(chunk)]);
  });

  it('write coalescer: what comes in one tick leaves when it is asked for, and only once', async () => {
    const { coalescer, sent } = coalescing();
    coalescer.push(Buffer.from('a'));
    coalescer.flush();
    coalescer.flush();
    expect(sent).toEqual(['a']);
    await tick();
    expect(sent).toEqual(['a']);
  });

  it('write coalescer: what comes in one tick is forgotten where nobody wants it', async () => {
    const { coalescer, sent } = coalescing();
    coalescer.push(Buffer.from('a'));
    coalescer.clear();
    await tick();
    expect(sent).toEqual([]);
    coalescer.push(Buffer.from('b'));
    await tick();
    expect(sent).toEqual(['b']);
  });

  it('write coalescer: what comes in one tick may bring more by being sent', async () => {
    const sent: string[] = [];
    const coalescer: WriteCoalescer = new WriteCoalescer(({ pieces }) => {
      if (sent.push(pieces.join('|')) === 1) coalescer.push(Buffer.from('b'));
    });
    coalescer.push(Buffer.from('a'));
    await tick();
    expect(sent).toEqual(['a', 'b']);
  });
});
