// An APNs by node's HTTP/2 (nghttp2), an implementation that shares nothing with ours. On its first connection it takes one stream,
// and to the next ones it says GOAWAY with that first one as the last. Prints a line of JSON for each thing that happens.
import http2 from 'node:http2';

const say = (what) => process.stdout.write(JSON.stringify(what) + '\n');
let sessions = 0;
const server = http2.createServer({ settings: { maxConcurrentStreams: 1 } });
server.on('session', (session) => {
  const number = ++sessions;
  let first = 0;
  session.on('error', () => {});
  session.on('stream', (stream, headers) => {
    const chunks = [];
    stream.on('error', () => {});
    if (number === 1 && first !== 0) {
      session.goaway(http2.constants.NGHTTP2_NO_ERROR, first);
      say({ refused: stream.id });
      setTimeout(() => session.destroy(), 50);
      return;
    }
    first = first || stream.id;
    stream.on('data', (chunk) => chunks.push(chunk));
    stream.on('end', () => {
      say({ session: number, stream: stream.id, path: headers[':path'], id: headers['apns-id'], body: Buffer.concat(chunks).toString() });
      stream.respond({ ':status': 200, 'apns-id': headers['apns-id'] });
      stream.end();
    });
  });
});
server.listen(0, '127.0.0.1', () => say({ port: server.address().port }));
