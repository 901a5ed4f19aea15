// The official npm client against a running Parley: streaming and not. Exits 0 when all is as expected.
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({
  baseURL: process.env.PARLEY_URL + "/v1",
  apiKey: process.env.PARLEY_KEY,
  maxRetries: 0,
});
const ask = (content) => [{ role: "user", content }];

const whole = await client.chat.completions.create({ model: "mock-chat", messages: ask("[say: guten Tag]") });
assert.equal(whole.choices[0].message.content, "guten Tag");

let text = "";
let usage = null;
const stream = await client.chat.completions.create({
  model: "travel-assistant",
  messages: ask("[words: 12]"),
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  text += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
assert.equal(text.split(" ").length, 12);
assert.ok(usage.completion_tokens > 0);

const ids = [];
for await (const model of client.models.list()) ids.push(model.id);
assert.ok(ids.includes("code-helper"));
assert.equal((await client.models.retrieve("mock-chat")).id, "mock-chat");

await assert.rejects(client.chat.completions.create({ model: "nobody", messages: ask("hi") }), OpenAI.NotFoundError);
await assert.rejects(
  new OpenAI({ baseURL: process.env.PARLEY_URL + "/v1", apiKey: "parley_wrong", maxRetries: 0 }).models.list(),
  OpenAI.AuthenticationError,
);

const embedded = await client.embeddings.create({ model: "mock-embedding", input: "abc", encoding_format: "float" });
assert.deepEqual(embedded.data[0].embedding, [3, 1, 0]);
console.log("npm openai client: all as expected");
