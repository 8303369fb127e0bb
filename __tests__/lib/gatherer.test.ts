import { describe, expect, it } from '@jest/globals';
import { Gatherer } from '../../lib/gatherer.js';

/** What is sent, in order; a line per piece. */
function gathering(): { gatherer: Gatherer; sent: string[] } {
  const sent: string[] = [];
  const gatherer = new Gatherer((pieces, size) => {
    expect(size).toBe(Buffer.concat(pieces).length);
    sent.push(pieces.join('|'));
  });
  return { gatherer, sent };
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
    const gatherer: Gatherer = new Gatherer((pieces) => {
      if (sent.push(pieces.join('|')) === 1) gatherer.push(Buffer.from('b'));
    });
    gatherer.push(Buffer.from('a'));
    await tick();
    expect(sent).toEqual(['a', 'b']);
  });
});
