import { describe, expect, it } from '@jest/globals';
import { Gatherer } from '../../lib/gatherer.js';

/** What is sent, in order; a line per piece. */
function gathering(): { gatherer: Gatherer; sent: string[]; sizes: number[] } {
  const sent: string[] = [];
  const sizes: number[] = [];
  const gatherer = new Gatherer(({ size, chunks, pieces, piecesSize }) => {
    expect(piecesSize).toBe(Buffer.concat(pieces).length);
    sent.push([...chunks, ...pieces].join('|'));
    sizes.push(size);
  });
  return { gatherer, sent, sizes };
}

const tick = (): Promise<void> => new Promise((resolve) => process.nextTick(resolve));

describe('what comes in one tick', () => {
  it('leaves in one piece at its end, before promises are settled', async () => {
    const { gatherer, sent } = gathering();
    await new Promise<void>((resolve) => {
      setImmediate(() => {
        gatherer.push(Buffer.from('a'));
        gatherer.push(Buffer.from('b'));
        expect(sent).toEqual([]);
        void Promise.resolve().then(() => {
          expect(sent).toEqual(['a|b']);
          resolve();
        });
      });
    });
    gatherer.push(Buffer.from('c'));
    await tick();
    expect(sent).toEqual(['a|b', 'c']);
  });

  it('leaves at once where it is much, and what follows after it', async () => {
    const { gatherer, sent } = gathering();
    const much = Buffer.alloc(64 * 1024, 'x');
    gatherer.push(Buffer.from('a'));
    gatherer.push(much);
    gatherer.push(Buffer.from('b'));
    expect(sent).toEqual([`a|${much}`]);
    await tick();
    expect(sent).toEqual([`a|${much}`, 'b']);
  });

  it('leaves in order, where whole chunks are among the pieces', async () => {
    const { gatherer, sent, sizes } = gathering();
    gatherer.push(Buffer.from('a'));
    gatherer.push(Buffer.from('b'));
    gatherer.pushChunks(Buffer.from('1\r\nc\r\n1\r\nd\r\n'), 2);
    gatherer.push(Buffer.from('e'));
    await tick();
    expect(sent).toEqual(['2\r\nab\r\n|1\r\nc\r\n1\r\nd\r\n|e']);
    expect(sizes).toEqual([5]);
  });

  it('leaves at once where whole chunks are much', () => {
    const { gatherer, sent } = gathering();
    const chunk = Buffer.from(`10000\r\n${'x'.repeat(65_536)}\r\n`);
    gatherer.pushChunks(chunk, 65_536);
    expect(sent).toEqual([String(chunk)]);
  });

  it('leaves when it is asked for, and only once', async () => {
    const { gatherer, sent } = gathering();
    gatherer.push(Buffer.from('a'));
    gatherer.flush();
    gatherer.flush();
    expect(sent).toEqual(['a']);
    await tick();
    expect(sent).toEqual(['a']);
  });

  it('is forgotten where nobody wants it', async () => {
    const { gatherer, sent } = gathering();
    gatherer.push(Buffer.from('a'));
    gatherer.clear();
    await tick();
    expect(sent).toEqual([]);
    gatherer.push(Buffer.from('b'));
    await tick();
    expect(sent).toEqual(['b']);
  });

  it('may bring more by being sent', async () => {
    const sent: string[] = [];
    const gatherer: Gatherer = new Gatherer(({ pieces }) => {
      if (sent.push(pieces.join('|')) === 1) gatherer.push(Buffer.from('b'));
    });
    gatherer.push(Buffer.from('a'));
    await tick();
    expect(sent).toEqual(['a', 'b']);
  });
});
