// Runs the open cache test suite, whose package is in the folder of the first argument, against the base URL of the second;
// further arguments are the only tests to run. Writes JSON: what the tests are, and what came of them (true, or why not).

import process from 'node:process'
import { pathToFileURL } from 'node:url'
import { createRequire } from 'node:module'

const [folder, base, ...only] = process.argv.slice(2)
const root = pathToFileURL(`${folder}/`)
const { runTests, getResults } = await import(new URL('client/runner.mjs', root))
const { default: suites } = await import(new URL('tests/index.mjs', root))
const { default: surrogate } = await import(new URL('tests/surrogate-control.mjs', root))
const fetch = createRequire(root)('node-fetch')

// What the suite's own command does; a test that only browsers can do is left out there too.
const all = [...suites.filter(suite => suite.id !== surrogate.id), surrogate]
const chosen = all.map(suite => ({ ...suite, tests: suite.tests.filter(test => only.length === 0 || only.includes(test.id)) }))
// It talks while it runs, on the same stream.
const { log } = console
console.log = () => {}
await runTests(chosen, fetch.default ?? fetch, false, base)
console.log = log
const tests = chosen.flatMap(suite => suite.tests.filter(test => test.browser_only !== true).map(test => ({ id: test.id, name: test.name, suite: suite.name, kind: test.kind ?? 'required', depends_on: test.depends_on ?? [] })))
process.stdout.write(JSON.stringify({ tests, results: getResults() }), () => process.exit(0))
