import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { ExchangeMessages } from '../../../lib/index.js';
import { onCleanUp } from './clean-up.js';
import { Queue } from './wait.js';

const PREFIX = 'express-sse-proxy:exchange:';

export type ChannelName = keyof ExchangeMessages extends `${typeof PREFIX}${infer Name}` ? Name : never;
export type Message<Name extends ChannelName> = ExchangeMessages[`${typeof PREFIX}${Name}`];

/** What is published on one of the proxy's diagnostics channels from now on. */
export function messagesOf<Name extends ChannelName>(name: Name): Queue<Message<Name>> {
  const messages = new Queue<Message<Name>>();
  on(name, (message) => messages.push(message));
  return messages;
}

/** Subscribes until the test is over. */
export function on<Name extends ChannelName>(name: Name, listener: (message: Message<Name>) => void): void {
  const full = `${PREFIX}${name}`;
  const onMessage = (message: unknown): void => listener(message as Message<Name>);
  subscribe(full, onMessage);
  onCleanUp(() => {
    unsubscribe(full, onMessage);
  });
}
