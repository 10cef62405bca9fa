"""`pi10 pretrain`: first weights from images without labels."""
