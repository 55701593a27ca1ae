#!lua flags=allow-oom
-- consumer: a worker that ends
leave(ARGV[1])
return 'OK'
