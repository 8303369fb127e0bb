import { expect, it } from '@jest/globals';
import { DeferredQueue } from '../../../lib/util/deferred-queue.js';
import { turns } from '../../support/watch/wait.js';

it('deferred queue: hands on when the event loop has turned, in order', async () => {
  const handled: number[] = [];
  const later = new DeferredQueue<number>((item) => handled.push(item));
  later.push(1);
  later.push(2);
  await Promise.resolve();
  await new Promise<void>((resolve) => process.nextTick(resolve));
  later.push(3);
  expect(handled).toEqual([]);
  await turns(1);
  expect(handled).toEqual([1, 2, 3]);
});

it('deferred queue: hands on what comes after that, too', async () => {
  const handled: number[] = [];
  const later = new DeferredQueue<number>((item) => handled.push(item));
  later.push(1);
  await turns(1);
  later.push(2);
  expect(handled).toEqual([1]);
  await turns(1);
  expect(handled).toEqual([1, 2]);
});

it('deferred queue: hands on at once where it is told to, and nothing twice', async () => {
  const handled: number[] = [];
  const later = new DeferredQueue<number>((item) => handled.push(item));
  later.flush();
  later.push(1);
  later.push(2);
  later.flush();
  expect(handled).toEqual([1, 2]);
  later.flush();
  await turns(1);
  expect(handled).toEqual([1, 2]);
});

it('deferred queue: keeps the order of what is added while it hands on', async () => {
  const handled: number[] = [];
  const later = new DeferredQueue<number>((item) => {
    if (item === 1) later.push(3);
    handled.push(item);
  });
  later.push(1);
  later.push(2);
  await turns(1);
  expect(handled).toEqual([1, 2]);
  await turns(1);
  expect(handled).toEqual([1, 2, 3]);
});
