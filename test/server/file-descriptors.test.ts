import test from 'ava'
import { execFileSync } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { Socket } from 'node:net'
import { descriptorLimit, descriptorOf, nextDescriptor } from '../../src/server/file-descriptors.ts'
import { Cio } from '../../src/index.ts'
import { dial, serve } from '../support/serve.ts'

test('the limit is the one that the shell tells', (t) => {
  // Node raises its soft limit to the hard one at its start; a child inherits it.
  const told = execFileSync('sh', ['-c', 'ulimit -n'], { encoding: 'latin1' }).trim()
  t.is(descriptorLimit(), told === 'unlimited' ? Infinity : Number(told))
})

test('the next descriptor is the lowest that is free', (t) => {
  const descriptor = openSync('/dev/null', 'r')
  t.teardown(() => closeSync(descriptor))
  t.true(Number.isInteger(nextDescriptor()))
  t.not(nextDescriptor(), descriptor)
})

test('a socket has a descriptor while it is open', async (t) => {
  const server = await serve(t, new Cio())
  const client = await dial(t, server)
  t.true(descriptorOf(client) > 2)
  t.is(descriptorOf(new Socket()), -1)
})
