// Draws with OpenAI's SDK for Node: node node_client.cjs FOLDER_OF_THE_SDK BASE_URL. Prints what it got as JSON.

const [folder, baseURL] = process.argv.slice(2);
const OpenAI = require(folder);

async function main() {
  const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
  const models = await client.models.list();
  const drawn = await client.images.generate({ prompt: "two red cats", model: "gems", n: 2, size: "64x64", seed: 7 });
  const events = [];
  for await (const event of await client.images.generate({ prompt: "two red cats", size: "64x64", stream: true, seed: 7 })) {
    events.push(event.type);
  }
  let error = null;
  try {
    await client.images.generate({ prompt: "two red cats", size: "12" });
  } catch (caught) {
    error = { kind: caught.constructor.name, status: caught.status, param: caught.param, requestID: caught.requestID };
  }
  const starts = drawn.data.map((item) => Buffer.from(item.b64_json, "base64").subarray(1, 4).toString());
  const seeds = drawn.data.map((item) => item.gems.seed);
  console.log(JSON.stringify({ models: models.data.map((model) => model.id), starts, seeds, events, error }));
}

main();
