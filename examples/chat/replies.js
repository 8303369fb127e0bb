// @ts-check

const REPLIES = [
  `A language model writes one token at a time. The provider sends each of them at once, as a small Server-Sent Event, \
and the reader sees the first words long before the last one has been thought of.

That only works when nobody on the way holds anything back:

• Compression collects bytes until a block is worth its while.
• A reverse proxy waits until its buffer is full.
• An interceptor reads the whole body before it lets go of it.

Each of them turns a lively stream into a long silence and a wall of text. A streaming proxy sends the head when the \
head comes, sends each chunk when the chunk comes, and otherwise keeps out of the way.`,

  `Good question! When you press Stop, three things should happen, and the order matters.

1. The browser aborts its request, and the connection to the server closes.
2. The server notices that, and closes its own request to the provider.
3. The provider stops generating, so nobody pays for words that nobody reads.

The second step is the one that gets lost most often. It fails silently: the page looks just the same, and only the \
invoice is longer. Try it now, and watch the terminal: it says after how many tokens the stand-in was stopped.`,

  `Text is not made of characters once it travels: it is made of bytes, and a chunk may end in the middle of anything. \
A naïve decoder breaks on “smart quotes”, on ¿señas?, on 日本語のテキスト, and on 👩🏽‍🚀 above all.

So a client keeps a little state between two chunks: the bytes of an unfinished character, and the line of an \
unfinished event. A proxy needs neither, as long as it passes the bytes on untouched, which is both the fastest and \
the safest thing that it can do.`,
];

/**
 * By what the last message is about, or else by turns.
 *
 * @param {unknown[]} messages
 */
export function replyTo(messages) {
  const question = JSON.stringify(messages.at(-1));
  const turn = Math.floor((messages.length - 1) / 2);
  const choice = /stop|abort|cancel/i.test(question) ? 1 : /emoji|unicode|character/i.test(question) ? 2 : turn;
  return /** @type {string} */ (REPLIES[choice % REPLIES.length]);
}
