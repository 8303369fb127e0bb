import { type Part, type ProviderAnswer, stream, TEXT, type Told, whole } from './dialects.js';

/*
 * Google's Interactions, in the shapes of its reference (ai.google.dev/gemini-api/docs/interactions/streaming) and of the types of
 * @google/genai.
 */

const PATH = '/v1beta/interactions';
const model: Told = { model: 'gemini-3-flash' };

const event = (payload: { event_type: string; [field: string]: unknown }, tells: Told = {}): Part => ({
  bytes: `event: ${payload.event_type}\ndata: ${JSON.stringify(payload)}\n\n`,
  tells,
});

const interaction = (members: object): object => ({
  id: 'v1_ChdPU0F4YWFtNkFwS2kxZThQZ05lbXdROBIX',
  object: 'interaction',
  model: 'gemini-3-flash',
  ...members,
});

/** The total says whether thoughts and tools are counted apart. */
const usage = {
  total_input_tokens: 100,
  input_tokens_by_modality: [{ modality: 'text', tokens: 100 }],
  total_cached_tokens: 64,
  total_output_tokens: 20,
  total_tool_use_tokens: 5,
  total_thought_tokens: 30,
  total_tokens: 155,
};

const figures: Told = {
  usage: { inputTokens: 105, outputTokens: 50, totalTokens: 155, cachedInputTokens: 64, reasoningTokens: 30 },
  usageComplete: true,
};

const created = event(
  { event_type: 'interaction.created', interaction: interaction({ status: 'in_progress' }) },
  model,
);
const delta = (part: string, tells?: Told): Part =>
  event({ event_type: 'step.delta', index: 0, delta: { type: 'text', text: part } }, tells);

export const interactionStream = stream('an interaction', PATH, [
  created,
  event({ event_type: 'interaction.status_update', interaction_id: 'v1_x', status: 'in_progress' }),
  event({ event_type: 'step.start', index: 0, step: { type: 'model_output' } }),
  delta(TEXT[0], { hasContent: true }),
  delta(TEXT[1]),
  event({ event_type: 'step.stop', index: 0 }),
  event(
    { event_type: 'interaction.completed', interaction: interaction({ status: 'completed', usage }) },
    { ...figures, finishReason: 'completed', ended: true },
  ),
  { bytes: 'event: done\ndata: [DONE]\n\n' },
]);

const soFar = stream('an interaction with the usage so far', PATH, [
  created,
  event(
    {
      event_type: 'step.delta',
      index: 0,
      delta: { type: 'text', text: TEXT[0] },
      metadata: { total_usage: { total_input_tokens: 7, total_output_tokens: 1, total_tokens: 8 } },
    },
    { hasContent: true, usage: { inputTokens: 7, outputTokens: 1, totalTokens: 8 } },
  ),
  event(
    { event_type: 'interaction.completed', interaction: interaction({ status: 'incomplete', usage }) },
    { ...figures, finishReason: 'incomplete', ended: true },
  ),
]);

const earlier = stream('an interaction of an earlier revision', PATH, [
  event({ event_type: 'interaction.start', interaction: interaction({ status: 'in_progress' }) }, model),
  event({ event_type: 'content.start', index: 0, content: { type: 'text' } }),
  event({ event_type: 'content.delta', index: 0, delta: { type: 'text', text: TEXT[0] } }, { hasContent: true }),
  event(
    {
      event_type: 'interaction.complete',
      interaction: interaction({ status: 'completed', usage: { total_input_tokens: 3, total_output_tokens: 4 } }),
    },
    { usage: { inputTokens: 3, outputTokens: 4 }, usageComplete: true, finishReason: 'completed', ended: true },
  ),
]);

const interactionFailed = stream('an interaction that fails on its way', PATH, [
  created,
  delta(TEXT[0], { hasContent: true }),
  event({ event_type: 'error', error: { code: 'resource_exhausted', message: 'Slow down.' } }),
]);

const interactionWhole = whole(
  'an interaction in one piece',
  PATH,
  interaction({
    status: 'completed',
    steps: [{ type: 'model_output', content: [{ type: 'text', text: TEXT[0] }] }],
    usage,
  }),
  { ...model, ...figures, hasContent: true, finishReason: 'completed' },
);

/** The total has the thoughts in it beside the output, and the prompts of tools within the input; and the other way round. */
const thoughtsApart = whole(
  'an interaction whose thoughts alone are counted apart',
  PATH,
  interaction({ status: 'completed', usage: { ...usage, total_tokens: 150 } }),
  { ...model, ...figures, usage: { ...figures.usage, inputTokens: 100, totalTokens: 150 }, finishReason: 'completed' },
);

const toolsApart = whole(
  'an interaction whose prompts of tools alone are counted apart',
  PATH,
  interaction({ status: 'completed', usage: { ...usage, total_output_tokens: 40, total_tokens: 145 } }),
  {
    ...model,
    ...figures,
    usage: { ...figures.usage, inputTokens: 105, outputTokens: 40, totalTokens: 145 },
    finishReason: 'completed',
  },
);

const interactionPending = whole(
  'an interaction that goes on in the background',
  PATH,
  interaction({ status: 'in_progress' }),
  model,
);

export const INTERACTIONS: readonly ProviderAnswer[] = [
  interactionStream,
  soFar,
  earlier,
  interactionFailed,
  interactionWhole,
  thoughtsApart,
  toolsApart,
  interactionPending,
];
