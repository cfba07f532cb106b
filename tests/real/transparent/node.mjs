// The Node origin: answers of the table, echoes, a small REST service, streams that wait for a word.
//
// From the environment: ANSWERS (a file), LOG (a line of JSON per request as it was seen). Prints its port.

import { Buffer } from 'node:buffer'
import crypto from 'node:crypto'
import fs from 'node:fs'
import http from 'node:http'
import zlib from 'node:zlib'

const ANSWERS = JSON.parse(fs.readFileSync(process.env.ANSWERS, 'utf8'))
const bytes = text => Buffer.from(text, 'latin1')
const pairs = raw => Array.from({ length: raw.length / 2 }, (_, i) => [raw[2 * i], raw[2 * i + 1]])
const streams = new Map()
const stream = id => {
  if (!streams.has(id)) streams.set(id, { told: Promise.withResolvers?.() ?? withResolvers(), gone: false, received: 0, started: false })
  return streams.get(id)
}
function withResolvers () {
  let resolve
  const promise = new Promise(_resolve => { resolve = _resolve })
  return { promise, resolve }
}

// Reads the body to its end and logs the request.
async function drained (request, id) {
  const hash = crypto.createHash('sha256')
  const kept = []
  let length = 0
  for await (const piece of request) {
    hash.update(piece)
    length += piece.length
    if (length <= 1 << 16) kept.push(piece)
    if (id) stream(id).received = length
  }
  const digest = hash.digest('hex')
  fs.appendFileSync(process.env.LOG, JSON.stringify({ method: request.method, target: request.url, fields: pairs(request.rawHeaders), body: digest, body_bytes: length, trailers: pairs(request.rawTrailers) }) + '\n')
  return { digest, length, text: Buffer.concat(kept).toString('latin1') }
}

function early (response, given) {
  // Node has writeEarlyHints, which says Link only; what it writes through is the same.
  for (const [status, fields] of given.early ?? []) {
    response._writeRaw(`HTTP/1.1 ${status} ${http.STATUS_CODES[status] ?? ''}\r\n${fields.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`, 'latin1')
  }
}

function answer (request, response, given) {
  early(response, given)
  const bodiless = given.status === 204 || given.status === 304
  const fields = given.fields.flat()
  if (fields.some((name, at) => at % 2 === 0 && name.toLowerCase() === 'date')) response.sendDate = false
  if (!given.pieces && !bodiless) fields.push('Content-Length', String(bytes(given.body).length))
  if (given.pieces && !bodiless) fields.push('Transfer-Encoding', 'chunked')
  given.reason === undefined ? response.writeHead(given.status, fields) : response.writeHead(given.status, given.reason, fields)
  if (request.method === 'HEAD' || bodiless) return response.end()
  for (const piece of given.pieces ?? []) response.write(bytes(piece))
  if (given.trailers) response.addTrailers(given.trailers)
  response.end(given.pieces ? undefined : bytes(given.body))
}

function json (response, value, status = 200, fields = {}) {
  const text = JSON.stringify(value)
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text), ...fields })
  response.end(text)
}

async function echo (request, response) {
  const { digest, length } = await drained(request)
  json(response, { method: request.method, target: request.url, sha256: digest, bytes: length }, 200, { 'Cache-Control': 'no-store' })
}

async function events (request, response, id) {
  await drained(request)
  const one = stream(id)
  one.started = true
  response.on('close', () => { if (!response.writableFinished) { one.gone = true; one.told.resolve() } })
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' })
  response.write('id: 1\ndata: first\n\n')
  await one.told.promise
  if (!one.gone) response.end('id: 2\ndata: last\n\n')
}

function bothWays (request, response) {
  response.writeHead(200, { 'Content-Type': 'application/octet-stream', 'Cache-Control': 'no-store' })
  response.flushHeaders()
  request.pipe(response)
}

async function download (request, response, query) {
  let left = Number(query.get('bytes'))
  const piece = Buffer.concat(Array.from({ length: 256 }, () => Buffer.from(Array.from({ length: 256 }, (_, i) => i))))
  response.writeHead(200, { 'Content-Type': 'application/octet-stream', 'Content-Length': String(left), ...(query.has('no-store') ? { 'Cache-Control': 'no-store' } : {}) })
  while (left > 0 && !response.destroyed) {
    const size = Math.min(left, piece.length)
    left -= size
    if (!response.write(piece.subarray(0, size))) await new Promise(resolve => { response.once('drain', resolve); response.once('close', resolve) })
  }
  response.end()
}

// --- A small REST service: things with entity tags, dates and ranges ---

const MODIFIED = 'Sun, 06 Nov 1994 08:49:37 GMT'
const things = new Map()
const fresh = key => ({ body: JSON.stringify({ thing: key, text: 'x'.repeat(200) }), version: 1 })
const tag = thing => `"v${thing.version}"`

async function thing (request, response, key) {
  const { text } = await drained(request)
  const path = `/things/${key}`
  if (request.method === 'PUT' || request.method === 'PATCH') {
    const old = things.get(key)
    if (request.headers['if-match'] && (!old || request.headers['if-match'] !== tag(old))) return json(response, { error: 'changed meanwhile' }, 412)
    if (request.headers['if-none-match'] === '*' && old) return json(response, { error: 'is there' }, 412)
    things.set(key, { body: text, version: (old?.version ?? 0) + 1 })
    return json(response, { stored: key }, old ? 200 : 201, { Location: path, ETag: tag(things.get(key)) })
  }
  if (request.method === 'DELETE') {
    things.delete(key)
    response.writeHead(204)
    return response.end()
  }
  if (request.method === 'OPTIONS') {
    response.writeHead(204, { Allow: 'GET, HEAD, PUT, PATCH, DELETE', 'Access-Control-Allow-Methods': 'PUT' })
    return response.end()
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') return json(response, { error: 'not so' }, 405, { Allow: 'GET, HEAD, PUT, PATCH, DELETE' })
  if (key.startsWith('none')) return json(response, { error: 'no such thing' }, 404)
  const found = things.get(key) ?? fresh(key)
  const fields = { ETag: tag(found), 'Last-Modified': MODIFIED, 'Accept-Ranges': 'bytes' }
  if (key.startsWith('kept')) fields['Cache-Control'] = 'max-age=60'
  if (request.headers['if-match'] && request.headers['if-match'] !== tag(found) && request.headers['if-match'] !== '*') return json(response, { error: 'changed' }, 412, fields)
  const since = Date.parse(request.headers['if-unmodified-since'])
  if (since < Date.parse(MODIFIED)) return json(response, { error: 'changed' }, 412, fields)
  const tags = request.headers['if-none-match']
  const unchanged = tags ? tags === '*' || tags.split(/\s*,\s*/).some(one => one.replace(/^W\//, '') === tag(found)) : Date.parse(request.headers['if-modified-since']) >= Date.parse(MODIFIED)
  if (unchanged) {
    response.writeHead(304, fields)
    return response.end()
  }
  const whole = Buffer.from(found.body)
  const condition = request.headers['if-range']
  const range = /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? '')
  const isOne = range && (range[1] !== '' || range[2] !== '') && !(range[1] !== '' && range[2] !== '' && Number(range[2]) < Number(range[1]))
  if (isOne && request.method === 'GET' && (!condition || condition === tag(found) || condition === MODIFIED)) {
    const first = range[1] === '' ? Math.max(0, whole.length - Number(range[2])) : Number(range[1])
    const last = range[1] === '' || range[2] === '' ? whole.length - 1 : Math.min(Number(range[2]), whole.length - 1)
    if (first >= whole.length) return json(response, { error: 'beyond' }, 416, { 'Content-Range': `bytes */${whole.length}` })
    const part = whole.subarray(first, last + 1)
    response.writeHead(206, { ...fields, 'Content-Type': 'application/json', 'Content-Range': `bytes ${first}-${last}/${whole.length}`, 'Content-Length': part.length })
    return response.end(part)
  }
  response.writeHead(200, { ...fields, 'Content-Type': 'application/json', 'Content-Length': whole.length })
  response.end(request.method === 'HEAD' ? undefined : whole)
}

async function negotiated (request, response) {
  await drained(request)
  const content = Buffer.from('What is it encoded with?\n'.repeat(40))
  const accepts = request.headers['accept-encoding'] ?? ''
  const encoders = { br: zlib.brotliCompressSync, gzip: zlib.gzipSync, deflate: zlib.deflateSync }
  const name = Object.keys(encoders).find(name => accepts.includes(name))
  const body = name ? encoders[name](content) : content
  response.writeHead(200, { 'Content-Type': 'text/plain', Vary: 'Accept-Encoding', 'Cache-Control': 'max-age=60', ETag: `"${name ?? 'plain'}"`, 'Content-Length': body.length, ...(name ? { 'Content-Encoding': name } : {}) })
  response.end(body)
}

async function cors (request, response) {
  await drained(request)
  const origin = request.headers.origin
  const fields = { Vary: 'Origin', ...(origin ? { 'Access-Control-Allow-Origin': origin, 'Access-Control-Allow-Credentials': 'true' } : {}) }
  if (request.method === 'OPTIONS') {
    response.writeHead(204, { ...fields, 'Access-Control-Allow-Methods': 'PUT, DELETE', 'Access-Control-Allow-Headers': request.headers['access-control-request-headers'] ?? '', 'Access-Control-Max-Age': '600' })
    return response.end()
  }
  json(response, { origin: origin ?? null }, 200, fields)
}

async function graphql (request, response) {
  const { text } = await drained(request)
  json(response, { data: null, errors: [{ message: `cannot ${text.length}` }] })
}

async function lines (request, response) {
  await drained(request)
  response.writeHead(200, { 'Content-Type': 'application/x-ndjson' })
  for (let n = 0; n < 20; n++) response.write(JSON.stringify({ n, pad: 'x'.repeat(n * 50) }) + '\n')
  response.end()
}

async function guarded (request, response) {
  await drained(request)
  const given = request.headers.authorization
  if (given === 'Basic ' + Buffer.from('user:pa:ss').toString('base64')) return json(response, { user: 'user' }, 200, { 'Cache-Control': 'private' })
  json(response, { error: 'who?' }, 401, { 'WWW-Authenticate': ['Basic realm="things"', 'Bearer realm="things"'] })
}

async function upload (request, response, id) {
  const { digest, length } = await drained(request, id)
  json(response, { sha256: digest, bytes: length })
}

function main (request, response) {
  const [path, query] = request.url.split(/\?(.*)/s)
  const parameters = new URLSearchParams(query)
  const id = parameters.get('id')
  const [, first, second] = path.split('/')
  const given = first === 'answer' && ANSWERS[second]
  if (given) return drained(request).then(() => answer(request, response, given))
  if (first === 'control') {
    if (second === 'go') stream(id).told.resolve()
    const { gone, received, started } = stream(id)
    return json(response, { gone, received, started })
  }
  const handlers = { echo, cors, graphql, lines, guarded, negotiated, expect: echo }
  if (handlers[first]) return handlers[first](request, response)
  if (first === 'things') return thing(request, response, second)
  if (first === 'events') return events(request, response, id)
  if (first === 'upload') return upload(request, response, id)
  if (first === 'both-ways') return bothWays(request, response)
  if (first === 'download') return download(request, response, parameters)
  json(response, { error: 'nothing here' }, 404)
}

const server = http.createServer({ keepAliveTimeout: 30000, maxHeaderSize: 128 * 1024, requireHostHeader: false }, (request, response) => Promise.resolve(main(request, response)).catch(() => response.destroy()))
server.on('checkContinue', (request, response) => {
  if (request.url.startsWith('/refuse')) {
    // The body is not wanted, so the connection cannot be used again.
    response.writeHead(413, { Connection: 'close', 'Content-Length': '4', 'Retry-After': '9' })
    return response.end('no.\n')
  }
  response.writeContinue()
  server.emit('request', request, response)
})
server.on('checkExpectation', (request, response) => {
  response.writeHead(417, { 'Content-Length': '0' })
  response.end()
})
server.listen(Number(process.argv[2]), '127.0.0.1')
process.on('SIGTERM', () => process.exit(0))
