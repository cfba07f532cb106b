// Writes an answer's body to standard output as it comes: `node stream.mjs fetch|node-http|node-h2 URL`. With `-both` behind
// a client's name it posts a first piece, and a second one when something came back.

import http from 'node:http'
import http2 from 'node:http2'

const [client, url] = process.argv.slice(2)
const out = piece => process.stdout.write(piece)
function bothWays (stream, answer) {
  stream.write('ping')
  answer.then(answer => answer.once('data', () => stream.end('pong')).on('data', out))
}
if (client === 'fetch') {
  const answer = await fetch(url)
  for await (const piece of answer.body) out(piece)
} else if (client === 'node-http-both') {
  const request = http.request(url, { method: 'POST' })
  bothWays(request, new Promise(resolve => request.on('response', resolve)))
} else if (client === 'node-http') {
  http.get(url, answer => answer.on('data', out).on('error', () => process.exit(1)))
} else {
  const { origin, pathname, search } = new URL(url)
  const session = http2.connect(origin)
  const both = client === 'node-h2-both'
  const stream = session.request({ ':path': pathname + search, ':method': both ? 'POST' : 'GET' }).on('end', () => session.close())
  if (both) bothWays(stream, Promise.resolve(stream))
  else stream.on('data', out).end()
}
