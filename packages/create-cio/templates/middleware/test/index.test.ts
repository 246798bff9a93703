import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Cio } from 'cio'
import { conforms, testApp } from 'cio/testing'
import * as package_ from '../src/index.ts'
import { __camel__ } from '../src/index.ts'

test('it numbers the connections in their order', async () => {
  const app = new Cio()
    .useConnection(__camel__({ first: 7 }))
    .useConnection(({ stream, visit }) => void stream.write(String(visit)))
  await using run = await testApp(app)
  for (const [at, { client }] of [run, await run.connect()].entries()) {
    let heard = ''
    for await (const chunk of client) heard += chunk.toString()
    assert.equal(heard, String(7 + at))
  }
})

test('it keeps to what every middleware promises', async () => {
  await conforms(() => __camel__())
})

test('it refuses what is no option', () => {
  assert.throws(() => __camel__({ first: -1 }), { code: 'ERR_CIO_OPTION' })
  // @ts-expect-error it is misspelt
  assert.throws(() => __camel__({ frist: 1 }), { code: 'ERR_CIO_OPTION' })
})

test('it has one name: export, default export and hint', () => {
  assert.equal(package_.default, __camel__)
  assert.equal(__camel__().hints?.name, '__camel__')
})
