// A browser and its push service by node's crypto (OpenSSL), an implementation that shares nothing with ours: RFC 8188 and RFC 8291.
// Prints its subscription, and of each push what it says.
import crypto from 'node:crypto';
import http from 'node:http';

const say = (what) => process.stdout.write(JSON.stringify(what) + '\n');
const ecdh = crypto.createECDH('prime256v1');
const key = ecdh.generateKeys();
const auth = crypto.randomBytes(16);

function open(body) {
  const salt = body.subarray(0, 16);
  const length = body[20];
  const sender = body.subarray(21, 21 + length);
  const sealed = body.subarray(21 + length);
  const info = Buffer.concat([Buffer.from('WebPush: info\0'), key, sender]);
  const secret = Buffer.from(crypto.hkdfSync('sha256', ecdh.computeSecret(sender), auth, info, 32));
  const derive = (name, bytes) => Buffer.from(crypto.hkdfSync('sha256', secret, salt, Buffer.from(`Content-Encoding: ${name}\0`), bytes));
  const cipher = crypto.createDecipheriv('aes-128-gcm', derive('aes128gcm', 16), derive('nonce', 12));
  cipher.setAuthTag(sealed.subarray(-16));
  const plain = Buffer.concat([cipher.update(sealed.subarray(0, -16)), cipher.final()]);
  const end = plain.lastIndexOf(2);
  if (end < 0 || plain.subarray(end + 1).some((byte) => byte !== 0)) throw new Error('no end');
  return plain.subarray(0, end).toString();
}

// The token of VAPID, by the key beside it.
function vouched(header) {
  const [, token, k] = /^vapid t=([^,]+), ?k=(.+)$/.exec(header);
  const [head, claims, signature] = token.split('.');
  const point = Buffer.from(k, 'base64url');
  const jwk = { kty: 'EC', crv: 'P-256', x: point.subarray(1, 33).toString('base64url'), y: point.subarray(33).toString('base64url') };
  const publicKey = crypto.createPublicKey({ key: jwk, format: 'jwk' });
  const signed = { key: publicKey, dsaEncoding: 'ieee-p1363' };
  return crypto.verify('sha256', Buffer.from(`${head}.${claims}`), signed, Buffer.from(signature, 'base64url'));
}

const server = http.createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    try {
      say({ plaintext: open(Buffer.concat(chunks)), vouched: vouched(request.headers.authorization) });
      response.writeHead(201, { location: '/m/1' }).end();
    } catch (error) {
      say({ error: String(error) });
      response.writeHead(400).end();
    }
  });
});
server.listen(0, '127.0.0.1', () => {
  say({ port: server.address().port, p256dh: key.toString('base64url'), auth: auth.toString('base64url') });
});
