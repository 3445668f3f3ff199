// Publishes an intent and waits for its outcome.
//
//     npm install && npx tsc && node recipe.js broker:9092 order-1

import { randomUUID } from "node:crypto";
import { Kafka, Partitioners, logLevel } from "kafkajs";

const [brokers, id] = process.argv.slice(2);
const kafka = new Kafka({ brokers: [brokers], logLevel: logLevel.ERROR });
const topics = ["workflow.results", "workflow.dead-letters"];

// kafkajs reads in a group only: one of its own for each process. It reads committed records, as
// long as readUncommitted is not set.
const consumer = kafka.consumer({ groupId: `recipe-${randomUUID()}` });
// By default it partitions by murmur2, as Java does.
const producer = kafka.producer({
  idempotent: true,
  createPartitioner: Partitioners.DefaultPartitioner,
});

async function main(): Promise<void> {
  await producer.connect();
  await consumer.connect();
  // From before the intent is published; a new group would otherwise begin at some later end.
  await consumer.subscribe({ topics, fromBeginning: true });
  const outcome = new Promise<string>((resolve, reject) => {
    const late = new Error("no outcome within 60 s: the intent still runs");
    setTimeout(() => reject(late), 60_000).unref();
    consumer
      .run({
        eachMessage: async ({ topic, message }) => {
          if (message.headers?.["intent-id"]?.toString() === id) {
            resolve(`${topic} ${message.value}`);
          }
        },
      })
      .catch(reject);
  });
  const intent = {
    intent_id: id,
    type: "message_generation",
    user_id: "u-1",
    data: { occasion: "birthday" },
  };
  // The key is the deduplication_id, else the intent_id.
  await producer.send({
    topic: "workflow.intents",
    acks: -1,
    messages: [{ key: id, value: JSON.stringify(intent) }],
  });
  console.log(await outcome);
}

main()
  .catch((error: Error) => {
    console.error(error.message);
    process.exitCode = 1;
  })
  .finally(() => Promise.all([consumer.disconnect(), producer.disconnect()]));
