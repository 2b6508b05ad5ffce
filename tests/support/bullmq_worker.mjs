// A worker of BullMQ, as the platform has one: node bullmq_worker.mjs URL QUEUE work|fail|pause|resume
// Prints a line of JSON for each job it is given, and one that says when it is ready.
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(path.join(process.env.NODE_FOLDER, 'x.js'));
const { Queue, Worker } = require('bullmq');

const [url, queue, what] = process.argv.slice(2);
const connection = { url, maxRetriesPerRequest: null };
const print = (line) => process.stdout.write(JSON.stringify(line) + '\n');

if (what === 'pause' || what === 'resume') {
  const handle = new Queue(queue, { connection });
  await handle[what]();
  await handle.close();
} else {
  const worker = new Worker(
    queue,
    async (job) => {
      print({ id: job.id, name: job.name, data: job.data, attempt: job.attemptsMade });
      if (what === 'fail') throw new Error('as the test wants');
    },
    { connection },
  );
  await worker.waitUntilReady();
  print({ ready: true });
  process.on('SIGTERM', () => worker.close(true).then(() => process.exit(0)));
}
