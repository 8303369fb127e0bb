import { describe, expect, it } from '@jest/globals';
import { UNSETTLED_ANSWERS } from '../../../lib/defaults.js';
import { UnsettledAnswers } from '../../../lib/observe/unsettled-answers.js';

const CREATED = '/v1/responses';
const STORED = '/v1/responses/resp_1';

/** Whether each of these exchanges, in order, is told to have asked again only. */
function asked(seen: readonly Seen[]): boolean[] {
  const answers = new UnsettledAnswers();
  return seen.map(([path, complete, ...ids]) =>
    answers.settle({ path, id: ids.length === 0 ? 'resp_1' : ids[0], complete }),
  );
}

type Seen = [path: string, complete: boolean, id?: unknown];

describe('unsettled answers: an answer is counted once', () => {
  it.each<[string, boolean[], Seen[]]>([
    [
      'by the request that has caused it',
      [false, true, true],
      [
        [CREATED, true],
        [STORED, true],
        [STORED, true],
      ],
    ],
    [
      'by the first that shows it finished',
      [false, true, false, true],
      [
        [CREATED, false],
        [STORED, false],
        [STORED, true],
        [STORED, true],
      ],
    ],
    ['by nobody who has not seen it begin', [true], [[STORED, true]]],
    [
      'also where it is asked for in another way',
      [false, false, true],
      [
        [CREATED, false],
        [`${STORED}/cancel?a=1`, true],
        [STORED, true],
      ],
    ],
    [
      'also where its name is escaped',
      [false, true],
      [
        [CREATED, true],
        ['/v1/responses/resp%5F1', true],
      ],
    ],
    ['not by one whose path is like its name', [false], [['/v1/responses/resp_12', true]]],
    ['whatever the path is', [false], [['/v1/%zz', true]]],
    [
      'not where it has no id',
      [false, false],
      [
        [STORED, true, undefined],
        [STORED, true, ''],
      ],
    ],
    ['not where its id is no text', [false], [['/v1/responses/5', true, 5]]],
  ])('unsettled answers: an answer %s', (_by, expected, seen) => {
    expect(asked(seen)).toEqual(expected);
  });

  it('unsettled answers: the last of them only are remembered', () => {
    const answers = new UnsettledAnswers();
    const ids = Array.from({ length: UNSETTLED_ANSWERS + 1 }, (_, i) => `resp_${i}`);
    for (const id of ids) answers.settle({ path: CREATED, id, complete: false });
    const isFirst = (id = ''): boolean => !answers.settle({ path: `${CREATED}/${id}`, id, complete: true });
    expect(isFirst(ids[0])).toBe(false);
    expect(isFirst(ids[1])).toBe(true);
    expect(isFirst(ids.at(-1))).toBe(true);
  });
});
