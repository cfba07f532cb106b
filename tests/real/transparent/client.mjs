// Node's clients: the global fetch, node:http and node:http2. Reads a line of JSON per session from standard input,
// answers with one; see `Node` in clients.py. Ends with its input.

import { Buffer } from 'node:buffer'
import http from 'node:http'
import http2 from 'node:http2'
import readline from 'node:readline'

// Bytes as text of one byte per character.
const latin1 = text => Buffer.from(text, 'latin1').toString('latin1')
const pairs = raw => Array.from({ length: raw.length / 2 }, (_, i) => [raw[2 * i], latin1(raw[2 * i + 1])])
const bodyOf = call => call.body === null ? undefined : Buffer.from(call.body, 'base64')
const nothing = () => ({ status: 0, reason: null, fields: [], body: '', trailers: null, informational: null, error: null })

async function * pieces (body) {
  for (let at = 0; at < body.length; at += 1000) yield body.subarray(at, at + 1000)
}

async function byFetch (port, call, patience) {
  const seen = nothing()
  const options = { method: call.method, headers: call.fields, redirect: call.follow ? 'follow' : 'manual', signal: AbortSignal.timeout(patience) }
  if (!call.decode && !call.fields.some(([name]) => name.toLowerCase() === 'accept-encoding')) {
    options.headers = [...call.fields, ['Accept-Encoding', 'identity']]
  }
  if (call.body !== null) {
    options.body = call.chunked ? ReadableStream.from(pieces(bodyOf(call))) : bodyOf(call)
    options.duplex = 'half'
  }
  try {
    const answer = await fetch(`http://127.0.0.1:${port}${call.target}`, options)
    seen.status = answer.status
    seen.reason = answer.statusText
    seen.fields = [...answer.headers]
    if (call.follow) seen.fields.push(['(ends at)', new URL(answer.url).pathname], ['(followed)', String(answer.redirected)])
    seen.body = Buffer.from(await answer.arrayBuffer()).toString('base64')
  } catch (error) {
    seen.error = `${error.message}: ${error.cause?.message ?? ''}`
  }
  return seen
}

function byHttp (agent, port, call, patience) {
  const seen = { ...nothing(), trailers: [], informational: [] }
  return new Promise(resolve => {
    const end = error => {
      if (error) seen.error ??= `${error.message} ${error.code ?? ''}`
      resolve(seen)
    }
    // An array of lines keeps what is said twice; then Node adds no Host by itself.
    const headers = ['Host', `127.0.0.1:${port}`, ...call.fields.flat()]
    if (call.body !== null) headers.push(...(call.chunked ? ['Transfer-Encoding', 'chunked'] : ['Content-Length', String(bodyOf(call).length)]))
    if (call.trailers.length) headers.push('Trailer', call.trailers.map(([name]) => name).join(', '))
    let request
    try {
      request = http.request({ agent, host: '127.0.0.1', port, method: call.method, path: call.target, headers, timeout: patience })
    } catch (error) {
      return end(error)
    }
    request.on('timeout', () => request.destroy(new Error('took too long')))
    request.on('error', end)
    request.on('information', ({ statusCode, rawHeaders }) => seen.informational.push([statusCode, pairs(rawHeaders)]))
    request.on('upgrade', (answer, socket) => { socket.destroy(); seen.status = answer.statusCode; end() })
    request.on('response', answer => {
      seen.status = answer.statusCode
      seen.reason = answer.statusMessage
      seen.fields = pairs(answer.rawHeaders)
      const got = []
      answer.on('data', piece => got.push(piece))
      answer.on('error', end)
      answer.on('end', () => {
        seen.body = Buffer.concat(got).toString('base64')
        seen.trailers = pairs(answer.rawTrailers)
        end(answer.complete ? undefined : new Error('incomplete'))
      })
    })
    const body = bodyOf(call)
    if (call.chunked) {
      for (let at = 0; at < body.length; at += 1000) request.write(body.subarray(at, at + 1000))
      if (call.trailers.length) request.addTrailers(call.trailers)
      request.end()
    } else request.end(body)
  })
}

function byHttp2 (session, call, patience) {
  const seen = { ...nothing(), trailers: [], informational: [] }
  return new Promise(resolve => {
    const end = error => {
      if (error) seen.error ??= `${error.message} ${error.code ?? ''}`
      resolve(seen)
    }
    const headers = { ':method': call.method, ':path': call.target }
    for (const [name, value] of call.fields) {
      const lower = name.toLowerCase()
      headers[lower] = lower in headers ? [headers[lower], value].flat() : value
    }
    const body = bodyOf(call)
    if (body && !call.chunked) headers['content-length'] = String(body.length)
    if (call.trailers.length) headers.trailer = call.trailers.map(([name]) => name).join(', ')
    let stream
    try {
      stream = session.request(headers, { endStream: body === undefined, waitForTrailers: call.trailers.length > 0 })
    } catch (error) {
      return end(error)
    }
    stream.setTimeout(patience, () => { seen.error = 'took too long'; stream.close() })
    const said = raw => raw.filter(([name]) => !name.startsWith(':'))
    stream.on('wantTrailers', () => stream.sendTrailers(Object.fromEntries(call.trailers)))
    stream.on('headers', (headers, _, raw) => seen.informational.push([headers[':status'], said(pairs(raw))]))
    stream.on('response', (headers, _, raw) => {
      seen.status = headers[':status']
      seen.fields = said(pairs(raw))
    })
    stream.on('trailers', (_, __, raw) => { seen.trailers = pairs(raw) })
    const got = []
    stream.on('data', piece => got.push(piece))
    stream.on('error', end)
    stream.on('close', () => {
      seen.body = Buffer.concat(got).toString('base64')
      end(stream.rstCode ? new Error(`reset with ${stream.rstCode}`) : undefined)
    })
    if (body) stream.end(body)
  })
}

async function session ({ client, port, calls, patience_ms: patience }) {
  const answers = []
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  let connection
  try {
    if (client === 'node-h2') {
      connection = http2.connect(`http://127.0.0.1:${port}`, { maxHeaderListPairs: 1000, settings: { maxHeaderListSize: 1 << 17 } })
      connection.on('error', () => {})
    }
    for (const call of calls) {
      if (client === 'fetch') answers.push(await byFetch(port, call, patience))
      else if (client === 'node-http') answers.push(await byHttp(agent, port, call, patience))
      else answers.push(await byHttp2(connection, call, patience))
    }
  } finally {
    agent.destroy()
    connection?.destroy()
  }
  return answers
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  process.stdout.write(JSON.stringify(await session(JSON.parse(line))) + '\n')
}
process.exit(0)
