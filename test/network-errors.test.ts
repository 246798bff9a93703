import test from 'ava'
import {
  isAddressUnavailable,
  isConsequence,
  isEndOfConnection,
  isIdentityAlert,
  isNetworkError,
  isOfClosedStream,
  isPassedOn,
  isTemporary,
} from '../src/network-errors.ts'

const error = (given: object): Error & NodeJS.ErrnoException =>
  Object.assign(new Error('given'), given)

test('an error of a system call is of the network, and one of a program is not', (t) => {
  t.true(isNetworkError(error({ code: 'ECONNRESET', syscall: 'read' })))
  t.true(isNetworkError(error({ code: 'ERR_SSL_WRONG_VERSION_NUMBER' })))
  t.false(isNetworkError(error({ code: 'ERR_INVALID_ARG_TYPE' })))
  t.false(isNetworkError(error({})))
})

test('an aborted wait and a destroyed stream are consequences, and a refused connection is a cause', (t) => {
  t.true(isConsequence(error({ name: 'AbortError' })))
  t.true(isConsequence(error({ code: 'ERR_STREAM_DESTROYED' })))
  t.false(isConsequence(error({ code: 'ECONNREFUSED' })))
})

test('a reset is how a connection ends, and a stream that was closed says so', (t) => {
  t.true(isEndOfConnection(error({ code: 'ECANCELED' })))
  t.false(isEndOfConnection(error({ code: 'ENOENT' })))
  t.true(isOfClosedStream(error({ code: 'ERR_STREAM_PREMATURE_CLOSE' })))
  t.false(isOfClosedStream(error({ code: 'ECONNRESET' })))
})

test('an address in use is unavailable when it is listened on, and not when it is connected from', (t) => {
  t.true(isAddressUnavailable(error({ code: 'EADDRINUSE', syscall: 'listen' })))
  t.false(isAddressUnavailable(error({ code: 'EADDRINUSE', syscall: 'connect' })))
  t.false(isAddressUnavailable(error({ code: 'EACCES', syscall: 'listen' })))
})

test('a server that is down is temporary; a mistake of a program and a missing file are not', (t) => {
  t.true(isTemporary(error({ code: 'ECONNREFUSED', syscall: 'connect' })))
  t.false(isTemporary(error({ code: 'EACCES', syscall: 'connect' })))
  t.false(isTemporary(new TypeError('a mistake')))
  t.false(isTemporary(error({ code: 'ENOENT', syscall: 'open' })))
  t.true(isPassedOn(error({ code: 'ENOTFOUND' })))
  t.false(isPassedOn(error({ code: 22 })))
})

test('an alert about a certificate refuses an identity, and one about a version does not', (t) => {
  t.true(isIdentityAlert(error({ code: 'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED' })))
  t.false(isIdentityAlert(error({ code: 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION' })))
  t.false(isIdentityAlert('ALERT_UNKNOWN_CA'))
})
