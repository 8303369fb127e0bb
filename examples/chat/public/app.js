import { apis, reason } from './providers.js';
import { readEvents } from './sse.js';

/** @typedef {'idle' | 'waiting' | 'streaming' | 'done' | 'stopped' | 'cut' | 'error'} State */

const $ = (id) => document.getElementById(id);
const [composer, settings, prompt, send, stop] = ['composer', 'settings', 'prompt', 'send', 'stop'].map($);
const [scroller, log, status, behaviour] = ['scroller', 'log', 'status', 'behaviour'].map($);

const config = await (await fetch('config.json')).json();

/** @type {import('./providers.js').Turn[]} */
let conversation = [];
/** @type {AbortController | undefined} the running answer's */
let running;

/** A failure that the page explains in words, next to whatever text has come before. */
class AnswerError extends Error {
  /**
   * @param {State} state
   * @param {string} message
   */
  constructor(state, message) {
    super(message);
    this.state = state;
  }
}

/** @param {string} text */
async function ask(text) {
  const controller = new AbortController();
  running = controller;
  const turns = conversation;
  turns.push({ role: 'user', content: text });
  addMessage('user', 'You').write(text);
  const provider = selectedProvider();
  const message = addMessage('assistant', config[provider].label);
  const figures = startFigures();
  show('waiting', 'Waiting for the first token');

  /** @type {State} */
  let state = 'done';
  let notice = '';
  let answer = '';
  try {
    for await (const progress of stream(provider, turns, controller.signal)) {
      if (progress.tokens !== undefined) figures.total(progress.tokens);
      if (!progress.text) continue;
      if (answer === '') show('streaming', 'Streaming');
      answer += progress.text;
      message.write(progress.text);
      figures.token();
    }
    show('done', 'Completed');
  } catch (error) {
    if (controller.signal.aborted) {
      [state, notice] = ['stopped', 'Stopped by you.'];
    } else if (error instanceof AnswerError) {
      [state, notice] = [error.state, error.message];
    } else {
      // fetch() and its reader tell a refused connection from a broken one only by when it happens.
      [state, notice] = answer ? ['cut', cutNotice] : ['error', 'The connection failed before an answer came.'];
    }
    show(state, { stopped: 'Stopped', cut: 'Cut off', error: 'Error' }[state]);
  }

  message.end(state, notice);
  figures.end();
  // Both APIs want the roles to take turns: a question without an answer is not repeated to them.
  if (answer) turns.push({ role: 'assistant', content: answer });
  else turns.pop();
  running = undefined;
  stop.disabled = true;
  send.disabled = false;
}

const cutNotice = 'The stream was cut before its end: this answer is not complete.';

/**
 * @param {string} provider
 * @param {import('./providers.js').Turn[]} turns
 * @param {AbortSignal} signal
 */
async function* stream(provider, turns, signal) {
  const api = apis[provider];
  const response = await fetch(api.path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...api.headers, ...standInHeaders(provider) },
    body: JSON.stringify(api.body(config[provider].model, turns)),
    signal,
  });
  if (!response.ok) throw new AnswerError('error', `${response.status}: ${await reason(response)}`);

  let whole = false;
  for await (const event of readEvents(response.body)) {
    const progress = api.read(event);
    if (progress.error) throw new AnswerError('error', `The provider broke off with an error: ${progress.error}`);
    // To leave here, in front of the last bytes, would look like a Stop to everybody upstream.
    if (progress.end) whole = true;
    else yield progress;
  }
  // The body may well end without an error: only the terminator tells a whole answer from the first half of one.
  if (!whole) throw new AnswerError('cut', cutNotice);
}

/** @param {string} provider */
const standInHeaders = (provider) =>
  config[provider].standIn && behaviour.value ? { 'x-stand-in': behaviour.value } : {};

/** Measures one answer, from now on. */
function startFigures() {
  const started = performance.now();
  let first = 0;
  let last = 0;
  let tokens = 0;
  const write = (id, text) => {
    $(id).textContent = text;
  };
  const writeRate = () => {
    // The first token starts the clock, so it does not count.
    const seconds = (last - first) / 1000;
    write('rate', tokens > 1 && seconds > 0 ? ((tokens - 1) / seconds).toFixed(1) : '–');
  };
  for (const id of ['ttft', 'tokens', 'rate']) write(id, '–');

  return {
    token() {
      last = performance.now();
      if (tokens === 0) {
        first = last;
        write('ttft', `${Math.round(first - started)} ms`);
      }
      tokens += 1;
      write('tokens', `${tokens}`);
      writeRate();
    },
    /** @param {number} count as the provider counts */
    total(count) {
      tokens = count;
      write('tokens', `${tokens}`);
    },
    end: writeRate,
  };
}

/**
 * @param {'user' | 'assistant'} role
 * @param {string} author
 */
function addMessage(role, author) {
  $('welcome').hidden = true;
  const element = $('message').content.firstElementChild.cloneNode(true);
  element.classList.add(role);
  element.querySelector('h3').textContent = author;
  // Appending to one text node costs the same for the last token as for the first.
  const text = document.createTextNode('');
  element.querySelector('.text').append(text);
  if (role === 'assistant') {
    element.dataset.state = 'streaming';
    // Screen readers are told of the answer once, when it is whole.
    element.setAttribute('aria-busy', 'true');
  }
  log.append(element);
  scroller.scrollTop = scroller.scrollHeight;

  return {
    /** @param {string} more */
    write: (more) => following(() => text.appendData(more)),
    /**
     * @param {State} state
     * @param {string} notice
     */
    end(state, notice) {
      following(() => {
        element.dataset.state = state;
        element.setAttribute('aria-busy', 'false');
        const line = element.querySelector('.notice');
        line.textContent = notice;
        line.hidden = notice === '';
      });
    },
  };
}

/** @param {() => void} change scrolls along with it, unless the reader has scrolled away */
function following(change) {
  const atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 48;
  change();
  if (atEnd) scroller.scrollTop = scroller.scrollHeight;
}

/**
 * @param {State} state
 * @param {string} text
 */
function show(state, text) {
  status.dataset.state = state;
  status.textContent = text;
}

const selectedProvider = () => settings.elements.provider.value;

function showProvider() {
  const { label, standIn } = config[selectedProvider()];
  $('behaviour-field').hidden = !standIn;
  $('about').textContent = standIn
    ? `No ${label} key is set, so a built-in stand‑in speaks its API: choose above how it behaves.`
    : `Connected to ${label}. Your words go through the proxy, which adds the key, and the tokens come straight back.`;
}

function submit() {
  const text = prompt.value.trim();
  if (running || text === '') return;
  send.disabled = true;
  stop.disabled = false;
  prompt.value = '';
  prompt.focus();
  void ask(text);
}

composer.addEventListener('submit', (event) => {
  event.preventDefault();
  submit();
});
prompt.addEventListener('keydown', (event) => {
  // While an input method composes, Enter chooses a word.
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
});
stop.addEventListener('click', () => {
  running?.abort();
  prompt.focus();
});
settings.addEventListener('change', showProvider);
$('new').addEventListener('click', () => {
  running?.abort();
  conversation = [];
  log.replaceChildren();
  $('welcome').hidden = false;
  prompt.focus();
});
for (const suggestion of document.querySelectorAll('.suggestions button')) {
  suggestion.addEventListener('click', () => {
    prompt.value = suggestion.textContent;
    submit();
  });
}

showProvider();
prompt.focus();
document.documentElement.dataset.ready = '';
