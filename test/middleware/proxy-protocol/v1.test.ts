import test from 'ava'
import { parseV1 } from '../../../middleware/proxy-protocol/v1.ts'

const parse = (text: string) => parseV1(Buffer.from(text, 'latin1'))
const malformed = { code: 'ERR_CIO_PROXY_HEADER' }
const ipv6 = 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'

test('TCP4 has both ends of an IPv4 connection', (t) => {
  const line = 'PROXY TCP4 255.255.255.255 192.168.0.11 65535 443\r\n'
  const parsed = parse(`${line}GET /`)
  t.like(parsed, {
    length: line.length,
    proxied: {
      version: 1,
      command: 'proxy',
      family: 'IPv4',
      protocol: 'stream',
      source: { address: '255.255.255.255', port: 65535 },
      destination: { address: '192.168.0.11', port: 443 },
    },
  })
})

test('TCP6 has both ends in canonical form', (t) => {
  t.like(parse(`PROXY TCP6 2001:DB8:0::0001 ::ffff:10.1.2.3 0 1\r\n`), {
    proxied: {
      family: 'IPv6',
      source: { address: '2001:db8::1', port: 0 },
      destination: { address: '10.1.2.3', port: 1 },
    },
  })
  t.like(parse(`PROXY TCP6 ${ipv6} ${ipv6} 65535 65535\r\n`), { length: 104 })
})

for (const line of [
  'PROXY UNKNOWN\r\n',
  'PROXY UNKNOWN \r\n',
  'PROXY UNKNOWN 1.2.3.4 5.6.7.8 1 2\r\n',
  `PROXY UNKNOWN ${ipv6} ${ipv6} 65535 65535\r\n`,
  'PROXY UNKNOWN \xff\0 whatever\r\n',
]) {
  test(`${JSON.stringify(line)} says nothing`, (t) => {
    t.like(parse(line), {
      length: line.length,
      proxied: { version: 1, command: 'proxy', family: null, source: null, destination: null },
    })
  })
}

test('a line that has not ended asks for more, byte by byte', (t) => {
  const line = 'PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n'
  for (let length = 0; length < line.length; length++) {
    t.is(parse(line.slice(0, length)), length + 1)
  }
})

test('a line of 107 bytes is the longest', (t) => {
  const line = (length: number): string => `${'PROXY UNKNOWN '.padEnd(length - 2, 'x')}\r\n`
  t.like(parse(line(107)), { length: 107 })
  t.throws(() => parse(line(108)), malformed)
  t.is(parse(line(108).slice(0, 106)), 107)
  t.throws(() => parse(line(108).slice(0, 107)), malformed)
})

test('what cannot become a header is malformed with the first wrong byte', (t) => {
  t.throws(() => parse('PROXYT'), malformed)
  t.throws(() => parse('POST'), malformed)
  t.throws(() => parse('PROXY UNKNOWN\n'), malformed)
  t.throws(() => parse('PROXY UNKNOWN\rx'), malformed)
})

for (const [what, line] of Object.entries({
  'in lower case': 'proxy TCP4 1.2.3.4 5.6.7.8 1 2',
  'with its protocol in lower case': 'PROXY tcp4 1.2.3.4 5.6.7.8 1 2',
  'with two spaces': 'PROXY  TCP4 1.2.3.4 5.6.7.8 1 2',
  'with two spaces between addresses': 'PROXY TCP4 1.2.3.4  5.6.7.8 1 2',
  'with a tab': 'PROXY TCP4\t1.2.3.4 5.6.7.8 1 2',
  'with a space at the end': 'PROXY TCP4 1.2.3.4 5.6.7.8 1 2 ',
  'with a field too many': 'PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3',
  'with a field too few': 'PROXY TCP4 1.2.3.4 5.6.7.8 1',
  'of an unknown protocol': 'PROXY UDP4 1.2.3.4 5.6.7.8 1 2',
  'of something that begins with UNKNOWN': 'PROXY UNKNOWNS',
  'without a protocol': 'PROXY ',
  'with five numbers in an address': 'PROXY TCP4 1.2.3.4.5 5.6.7.8 1 2',
  'with three numbers in an address': 'PROXY TCP4 1.2.3 5.6.7.8 1 2',
  'with a number above 255': 'PROXY TCP4 1.2.3.256 5.6.7.8 1 2',
  'with a leading zero in an address': 'PROXY TCP4 1.2.3.04 5.6.7.8 1 2',
  'with a leading zero in a port': 'PROXY TCP4 1.2.3.4 5.6.7.8 01 2',
  'with port 65536': 'PROXY TCP4 1.2.3.4 5.6.7.8 1 65536',
  'with source port 65536': 'PROXY TCP4 1.2.3.4 5.6.7.8 65536 1',
  'with a negative port': 'PROXY TCP4 1.2.3.4 5.6.7.8 -1 2',
  'with a port that is no number': 'PROXY TCP4 1.2.3.4 5.6.7.8 http 2',
  'of TCP4 with an IPv6 address': 'PROXY TCP4 ::1 5.6.7.8 1 2',
  'of TCP6 with an IPv4 address': 'PROXY TCP6 ::1 5.6.7.8 1 2',
  'with a zone': 'PROXY TCP6 fe80::1%eth0 ::1 1 2',
  'with two double colons': 'PROXY TCP6 1::2::3 ::1 1 2',
  'with nine groups': 'PROXY TCP6 1:2:3:4:5:6:7:8:9 ::1 1 2',
  'with a host name': 'PROXY TCP4 localhost 5.6.7.8 1 2',
})) {
  test(`a line ${what} is malformed`, (t) => {
    t.throws(() => parse(`${line}\r\n`), malformed)
  })
}

test('the error quotes the line, cut and escaped', (t) => {
  const error = t.throws(() => parse('PROXY TCP4 \x1b[2J 5.6.7.8 1 2\r\n'), malformed)
  t.is(error?.message, String.raw`it is "PROXY TCP4 \u001b[2J 5.6.7.8 1 2"`)
})
