import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { ActiveExchanges } from '../../../lib/fast-path/active-exchanges.js';

describe('a bag', () => {
  it('active exchanges: is empty at first', () => {
    const bag = new ActiveExchanges<string>();
    expect([bag.size, bag.items()]).toEqual([0, []]);
  });

  it('active exchanges: has what a Set would have, whatever comes and goes, and in whichever order', () => {
    // A number below the count of what was added takes that out; any other adds.
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 20 })), (steps) => {
        const bag = new ActiveExchanges<number>();
        const set = new Set<number>();
        const removers: (() => void)[] = [];
        for (const step of steps) {
          const remove = removers[step];
          if (remove === undefined) {
            const item = removers.length;
            set.add(item);
            removers.push(bag.add(item));
          } else {
            remove();
            set.delete(step);
          }
          expect(bag.size).toBe(set.size);
          expect(new Set(bag.items())).toEqual(set);
        }
      }),
    );
  });

  it('active exchanges: takes out each thing by itself, also where it has it twice', () => {
    const bag = new ActiveExchanges<string>();
    const remove = bag.add('a');
    bag.add('a');
    remove();
    remove();
    expect(bag.items()).toEqual(['a']);
  });
});
