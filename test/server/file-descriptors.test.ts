import test from 'ava'
import { execFileSync } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { descriptorLimit, nextDescriptor } from '../../src/server/file-descriptors.ts'

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

test('the last of several is one that is not open, and none stays open', (t) => {
  const first = nextDescriptor()
  const last = nextDescriptor(5)
  t.true(last >= first + 4)
  t.is(nextDescriptor(), first)
  t.is(nextDescriptor(5, first), first, 'the bound ends it')
})
